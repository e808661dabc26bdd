"""options.toml: every key has a default, and nothing that is wrong passes as one."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.node.config import Options, PathTuning, ServiceTuning
from ha.node.config.checking import figures
from ha.node.config.facility import FACILITIES, parse_facility
from ha.node.config.options import parse_options
from ha.node.config.problems import Report
from ha.node.config.protecting import Protecting
from tests.unit.node.test_config import configuration, warnings

EXAMPLE = Path(__file__).parents[3] / "conf/options.toml"
MANUAL = Path(__file__).parents[3] / "docs/configuration.md"
NODE_KEYS = (
    *("cluster", "notify", "metrics", "freeze_secondary_on_start", "talk_delay", "log_level"),
    *Protecting.__dataclass_fields__,
)


def options(text: str) -> Options:
    report = Report()
    found = parse_options(text, report)
    assert report.problems == ()
    return found


def wrong(text: str) -> list[str]:
    report = Report()
    parse_options(text, report)
    return [str(p) for p in report.problems]


def test_nothing_set_means_the_defaults() -> None:
    assert options("") == options("# only a comment\n\n") == Options()
    assert options("\n[service.web]\n[path.x]\n").default_service == ServiceTuning(300, 300, 10, 60, 5, (0,), (3,))


def test_the_installed_example_names_every_key_with_its_default() -> None:
    text = EXAMPLE.read_text()
    assert options(text) == Options()
    active = re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", text)
    globals_only = active[: active.index("[service.")]
    found = options(globals_only)
    assert found.default_path == PathTuning(ttl=1, slot=2)  # Its real default is a matter of the offsets.
    assert found == Options(default_path=found.default_path)
    keys = set(re.findall(r"(?m)^([a-z_]+) = ", globals_only))
    assert keys == {
        *ServiceTuning.__dataclass_fields__,
        *PathTuning.__dataclass_fields__,
        *NODE_KEYS,
    }
    assert options(active).service("p26.opensvc.com").start_timeout == 600


def test_the_manual_names_every_key_and_its_example_is_valid() -> None:
    text = MANUAL.read_text()
    table = text[text.index("## options.toml") : text.index("A table `[service")]
    keys = set(re.findall(r"(?m)^\| `([a-z_]+)` \|", table))
    assert keys == {*ServiceTuning.__dataclass_fields__, *PathTuning.__dataclass_fields__, *NODE_KEYS}
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert warnings(options=example[1]) == []


def test_the_manual_shows_what_ezha_check_prints() -> None:
    text = MANUAL.read_text()
    # How heartbeats are signed is a matter of the keys, which this configuration has not.
    assert "".join(line + "\n" for line in figures(configuration())[:-1]) in text


def test_a_service_and_a_path_may_differ_from_the_rest() -> None:
    found = configuration(
        options="""
stop_timeout = 20
status_down = [3, 4]
ttl = 2
[service."p26.opensvc.com"]
start_timeout = 0.5
status_up = 0
[path."eth0:239.131.50.10:1234"]
ttl = 9
"""
    )
    service = found.cluster.services["p26.opensvc.com"]
    assert (service.start_timeout, service.stop_timeout) == (0.5, 20)
    assert (service.status_up, service.status_down) == ((0,), (3, 4))
    assert [line.ttl for line in found.lines] == [9, 2, 2, 2]


def test_notify_is_an_argument_list_or_one_string() -> None:
    argv = ("/bin/logger", "-t", "a b")
    assert options('notify = ["/bin/logger", "-t", "a b"]').notify == argv
    assert options("""notify = "/bin/logger -t 'a b'" """).notify == argv
    assert options("notify = []").notify == options('notify = ""').notify == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:9410", ("127.0.0.1", 9410)),
        ("127.1.2.3:1", ("127.1.2.3", 1)),
        ("[::1]:9410", ("::1", 9410)),
        ("localhost:80", ("127.0.0.1", 80)),
        ("", None),
    ],
)
def test_metrics_are_served_on_loopback(text: str, found: object) -> None:
    assert options(f'metrics = "{text}"').metrics == found


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("start_timeout = 0", "start_timeout is 0 s; give 0.1 to 86400 s"),
        ("start_timeout = -1.5", "start_timeout is -1.5 s"),
        ("stop_timeout = inf", "stop_timeout is inf s"),
        ("stop_timeout = nan", "stop_timeout is nan s"),
        ("status_timeout = 3601", "give 0.1 to 3600 s"),
        (f"kill_grace = 1{'0' * 400}", "kill_grace is 10000000000000000000 s"),
        ('check_timeout = "60"', "check_timeout is a string; give seconds"),
        ("kill_grace = true", "kill_grace is a boolean"),
        ("start_timeout = 1979-05-27", "start_timeout is a date or time"),
        ("status_up = []", "status_up is not a list of exit codes"),
        ("status_up = [256]", "numbers from 0 to 255"),
        ("status_up = [true]", "numbers from 0 to 255"),
        ("status_down = [3, 3]", "status_down names an exit code twice"),
        ("status_down = [0]", "exit code 0 means both up and down"),
        ("ttl = 0", "ttl is 0; give 1 to 255 hops"),
        ("ttl = 1.0", "ttl is a number; give a whole number"),
        ("slot = 129", "slot is 129; give 1 to 128 blocks"),
        ('cluster = ""', "cluster '' is empty"),
        ('cluster = "a b"', "cluster 'a b' has a character"),
        ("cluster = 1", "cluster is a whole number"),
        ('log_level = "loud"', "log_level is not a log level; give one of error, warning, info, debug"),
        ("freeze_secondary_on_start = 1", "give true or false"),
        ('freeze_secondary_on_start = "yes"', "give true or false"),
        ('notify = "logger"', "give the program as an absolute path"),
        ('notify = "/a \'b"', "cannot be split into words"),
        ('notify = ["/a", 1]', "holds something other than strings"),
        ("notify = 1", "notify is a whole number; give a command"),
        ('notify = ["/a\\u0000b"]', "holds a NUL"),
        ('metrics = "0.0.0.0:9410"', "'0.0.0.0' is not a loopback address"),
        ('metrics = "127.0.0.1"', "has no port"),
        ('metrics = "127.0.0.1:0"', "has no port"),
        ('metrics = "127.1:99"', "is not a loopback address"),
        ("metrics = 9410", "metrics is a whole number"),
        ("colour = 1", "unknown key 'colour'; known here: cluster, notify"),
        ("[servcie.web]", "unknown key 'servcie'"),
        ("[service]\nstart_timeout = 1", '[service] has no key of its own; write [service."NAME"]'),
        ("service = 1", "service is a whole number; write [service"),
        ("[service.web]\nttl = 1", "unknown key 'ttl'"),
        ("[service.web]\nx.y = 1", "unknown key 'x'"),
        ('[path."a:b"]\nstart_timeout = 1', "unknown key 'start_timeout'; known here: ttl, slot"),
        ("[[service]]", "service is a list"),
        ("x =", "is not TOML"),
        ("x = 1\nx = 1", "is not TOML"),
        ("=", "is not TOML"),
    ],
)
def test_what_is_wrong_is_refused_on_its_line(line: str, says: str) -> None:
    found = wrong(f"# first\n\n{line}\n")
    assert len(found) == 1, found
    where = 3 + line.count("\n")
    assert found[0].startswith(f"conf/options.toml:{where}: "), found
    assert says in found[0]


@pytest.mark.parametrize(
    "text",
    [
        '"foo" = 1',
        "[service.'we=b']\nfoo = 1",
        '[service]\n"a.b".foo = 1',
        "status_up = [\n  0,\n  1,\n]\nfoo=1",
        "service.web = { foo = 1 }",
        '[ service . "x" ] # why\n  foo   =   1 # = 2',
    ],
)
def test_the_line_of_a_key_is_found_in_any_spelling(text: str) -> None:
    lines = text.split("\n")
    (message,) = wrong(text)
    assert "unknown key 'foo'" in message
    assert message.startswith(f"conf/options.toml:{len(lines)}: ")


def test_nesting_without_end_is_refused() -> None:
    assert "is nested too deeply" in wrong("x = " + "[" * 100_000)[0]


def test_tables_for_what_is_not_there_are_warned_of() -> None:
    found = warnings(options='[service."p62.opensvc.com"]\nstop_timeout = 1\n[path."eth0:1"]\nttl = 2\n')
    assert found == [
        'conf/options.toml: [path."eth0:1"] changes nothing: the file monitor has no such path',
        'conf/options.toml: [service."p62.opensvc.com"] changes nothing: the file services has no such service',
    ] or found == [
        'conf/options.toml: [service."p62.opensvc.com"] changes nothing: the file services has no such service',
        'conf/options.toml: [path."eth0:1"] changes nothing: the file monitor has no such path',
    ]


def test_an_option_that_means_nothing_for_its_path_is_warned_of() -> None:
    found = warnings(options='[path."eth0:239.131.50.10:1234"]\nslot = 4\n')
    assert found == [
        'conf/options.toml: [path."eth0:239.131.50.10:1234"] has a slot, which counts for dio and disk only'
    ]


def facility(text: str) -> tuple[str, list[str]]:
    report = Report()
    return parse_facility(text, report), [str(p) for p in report.problems]


def test_the_facility_is_daemon_unless_the_file_says_otherwise() -> None:
    assert facility("") == facility("# nothing\n") == ("daemon", [])
    assert facility("local0\n") == facility("LOG_LOCAL0") == ("local0", [])
    assert FACILITIES["local7"] == 23


@pytest.mark.parametrize("text", ["mars", "kern", "local8", "daemon local0", "3"])
def test_a_facility_that_is_none_is_refused(text: str) -> None:
    name, problems = facility(text)
    assert name == "daemon"
    assert len(problems) == 1
    assert problems[0].startswith(f"conf/logfacility:1: {text} is no syslog facility; give one of user mail daemon")


@given(st.text(max_size=300))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    report = Report()
    assert isinstance(parse_options(text, report), Options)


VALUES = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.sampled_from(['"x"', '"127.0.0.1:1"', '["/a"]', "[0]", "[[1]]", "{ a = 1 }", "1979-05-27", "07:32:00"]),
)
KEYS = st.sampled_from(
    [*ServiceTuning.__dataclass_fields__, "ttl", "slot", "cluster", "notify", "metrics", "log_level"]
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_no_value_passes_that_is_out_of_range(table: dict[str, object]) -> None:
    text = "\n".join(f"{key} = {str(value).lower()}" for key, value in table.items())
    report = Report()
    found = parse_options(text, report)
    tuning = found.default_service
    assert 0.1 <= tuning.start_timeout <= 86400
    assert 0.1 <= tuning.status_timeout <= 3600
    assert 0 <= tuning.kill_grace <= 600
    assert tuning.status_up
    assert not set(tuning.status_up) & set(tuning.status_down)
    assert 1 <= found.default_path.ttl <= 255
    assert 0 <= found.default_path.slot <= 128
    assert all(arg for arg in found.notify[:1])
