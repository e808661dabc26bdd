"""What a heartbeat costs: bytes on the wire, microseconds to encode, to decode, to verify.

``warm``: the services are those of the message before, as between two changes. ``cold``: they changed.
Run: ``python -m bench.codec``.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from ha.fsm.message import Ack, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.states import Promise, State
from ha.heartbeats import codec

SIZES = (1, 128, 1_000)
ROUNDS = 60


def message(count: int, generation: int) -> Heartbeat:
    return Heartbeat(
        cluster=0xC0FFEE,
        node=0xBEEF,
        incarnation=Incarnation(1_000, 0x1234_5678),
        seq=1_000_000,
        promise=Promise.NONE,
        standing=True,
        left=False,
        timeout_ms=10_000,
        lease_ms=0,
        paths_digest=0xFFFF_FFFF,
        services=tuple(ServiceEntry(i * 4_000_000, State.STARTED, generation, last_ran=True) for i in range(count)),
        acks=(Ack(0xFEED, Incarnation(1_000, 0x1234_5678), (1_000_000, 1_000_000)),),
    )


def variants(count: int) -> Iterator[Heartbeat]:
    """Messages of which no two have the same services."""
    return (message(count, generation) for generation in itertools.count(129))


def median_us(action: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    spent = []
    for _ in range(ROUNDS):
        before()
        begun = time.perf_counter()
        action()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent) * 1e6


def measure(count: int) -> tuple[int, float, float, float, float, float]:
    plain = message(count, 16_383)
    data = codec.encode(plain)
    fresh = variants(count)
    current: list[Heartbeat] = [plain]
    wire: list[bytes] = [data]

    def renew() -> None:
        current[0] = next(fresh)

    def renew_wire() -> None:
        wire[0] = codec.encode(next(fresh))

    encode_cold = median_us(lambda: codec.encode(current[0]), renew)
    decode_cold = median_us(lambda: codec.decode(wire[0]), renew_wire)
    codec.encode(plain)
    codec.decode(data)
    later = replace(plain, seq=plain.seq + 1)
    encode_warm = median_us(lambda: codec.encode(later))
    decode_warm = median_us(lambda: codec.decode(data))
    return len(data), encode_warm, encode_cold, decode_warm, decode_cold, median_us(lambda: codec.verify(data))


def main() -> None:
    print("services  bytes  encode µs (warm, cold)  decode µs (warm, cold)  verify µs")
    for count in SIZES:
        size, encode_warm, encode_cold, decode_warm, decode_cold, verify = measure(count)
        print(
            f"{count:8d} {size:6d} {encode_warm:12.0f} {encode_cold:10.0f}"
            f" {decode_warm:13.0f} {decode_cold:10.0f} {verify:12.1f}"
        )


if __name__ == "__main__":
    main()
