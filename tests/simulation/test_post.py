"""What is under way to a machine in a search of all histories: only the order of messages counts."""

from ha.simulation.bounded import T
from ha.simulation.post import (
    IN_FLIGHT,
    NOTHING,
    Letter,
    Post,
    aged,
    arrived,
    outdated,
    posted,
    read,
    rebased,
    reheard,
    sent,
    settled,
    together,
    without,
)

NEWS, OTHER = 1, 2


def _letter(life: int, seq: int, *, text: int = NEWS, heard: int = 1, fresh: int = 1, age: int = 0) -> Letter:
    return Letter(text, heard, fresh, life, seq, age)


def test_places_have_no_gaps_and_start_from_the_newest_heard() -> None:
    post = Post((_letter(0, 4), _letter(3, 9)), _letter(0, -7))
    assert settled(post, True, T) == Post((_letter(0, 1), _letter(1, 0)), _letter(0, -1))


def test_where_nothing_was_heard_places_start_from_the_first() -> None:
    post = Post((_letter(-1, 4), _letter(3, 9)))
    assert settled(post, False, T) == Post((_letter(0, 0), _letter(1, 0)))


def test_the_age_of_an_old_message_counts_only_where_nothing_later_has_come() -> None:
    tape = _letter(0, -1, age=2)
    assert settled(Post((), tape), True, 2).tape == tape._replace(age=T)
    assert settled(Post((), tape), True, 3).tape == tape


def test_a_message_is_stale_up_to_the_newest_heard() -> None:
    assert [_letter(*stamp).stale for stamp in ((-1, 3), (0, -1), (0, 0), (0, 1), (1, 0))] == [True] * 3 + [False] * 2


def test_what_is_heard_becomes_what_the_others_are_measured_by() -> None:
    heard = _letter(1, 0)
    post = rebased(Post((heard, _letter(1, 1)), _letter(0, 2)), heard)
    assert [(each.life, each.seq) for each in post.inbox] == [(0, 0), (0, 1)]
    assert post.tape is not None and post.tape.stale


def test_a_new_message_comes_after_all_others_of_its_incarnation() -> None:
    assert sent(NOTHING, NEWS, 0, False, None) == _letter(0, 0, heard=0)
    post = Post((_letter(0, 1),), _letter(0, 3))
    assert sent(post, NEWS, 1, True, _letter(0, 0)) == _letter(0, 4, fresh=2)
    assert sent(outdated(post, 0), NEWS, 1, False, None) == _letter(1, 0)


def test_in_an_instant_the_newest_replaces_the_last_but_not_one_that_has_come_before() -> None:
    post = NOTHING
    for number in range(1, IN_FLIGHT + 2):
        post = posted(post, _letter(0, number), replayable=None, differs=False)
    assert [each.seq for each in post.inbox] == [1, IN_FLIGHT + 1]
    post = posted(aged(post), _letter(0, 9), replayable=None, differs=False)
    assert [each.seq for each in post.inbox] == [IN_FLIGHT + 1, 9]


def test_of_what_is_read_together_the_newest_of_the_first_incarnation_is_kept_and_two_of_a_later() -> None:
    letters = (_letter(0, 1), _letter(0, 2), _letter(0, 3), _letter(1, 0), _letter(1, 1), _letter(1, 2), _letter(2, 0))
    kept = [(each.life, each.seq) for each in together(letters)]
    assert kept == [(0, 3), (1, 0), (1, 2), (2, 0)]
    assert together(together(letters)) == together(letters)
    assert [(each.life, each.seq) for each in aged(Post(letters)).inbox] == kept, "and of what waits over time"
    assert together(()) == ()


def test_what_is_read_is_gone() -> None:
    assert [each.seq for each in read(Post((_letter(0, 1), _letter(0, 2), _letter(0, 3))), 2).inbox] == [3]


def test_what_has_come_is_lost_no_more() -> None:
    """Else the loss of the newest would take those with it that had come before, and were replaced."""
    post = posted(aged(Post((_letter(0, 1),))), _letter(0, 2), replayable=None, differs=False)
    assert arrived(post) == 1
    assert [each.seq for each in without(post).inbox] == [1]
    assert arrived(aged(post)) == 1


def test_the_last_message_with_other_news_can_come_again() -> None:
    waits, new, old = _letter(0, 1), _letter(0, 2, text=OTHER), _letter(0, 0)
    assert posted(Post((waits,)), new, replayable=None, differs=True).tape == waits
    assert posted(NOTHING, new, replayable=old, differs=False).tape == old
    kept = Post((waits,), _letter(0, -1))
    assert posted(kept, new, replayable=old, differs=False).tape == kept.tape


def test_labels_only_sink_and_ages_end() -> None:
    post = Post((_letter(0, 1, heard=2, fresh=2), _letter(0, 2, heard=0, fresh=0)))
    assert [each.heard for each in reheard(post, 1).inbox] == [1, 0]
    assert [each.fresh for each in outdated(post, 1).inbox] == [1, 0]
    for _ in range(T + 2):
        post = aged(post)
    assert [each.age for each in post.inbox] == [T]
