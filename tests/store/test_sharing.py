"""Equal values of records that are read back are kept once; the records stay what they were."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store
from moorage.store.sharing import Sharing

from .things import TABLES, THINGS, Thing


class Part(msgspec.Struct, frozen=True):
    name: str
    size: float = 0.0


class Whole(msgspec.Struct, frozen=True):
    arn: str
    zone: str | None
    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    parts: tuple[Part, ...]
    first: Part | None
    extra: dict[str, str]


text = st.text(max_size=5)
parts = st.builds(Part, text, st.floats(allow_nan=False))
wholes = st.builds(
    Whole,
    text,
    st.none() | text,
    st.lists(text).map(tuple),
    st.lists(st.integers(-9, 9)).map(tuple),
    st.lists(parts).map(tuple),
    st.none() | parts,
    st.dictionaries(text, text),
)


@given(st.lists(wholes))
def test_a_shared_record_equals_what_it_was(records):
    sharing = Sharing()
    for record in records:
        data = msgspec.msgpack.encode(record)
        shared = sharing.record(msgspec.msgpack.decode(data, type=Whole))
        assert shared == record
        assert msgspec.msgpack.encode(shared) == data, "also to the type of every number"


def test_equal_strings_and_tuples_of_strings_are_one_object():
    sharing = Sharing()
    data = msgspec.msgpack.encode(Whole("arn:1", "zone", ("a", "b"), (1,), (Part("p"),), Part("q"), {}))
    one, other = (sharing.record(msgspec.msgpack.decode(data, type=Whole)) for _ in range(2))
    assert one.arn is other.arn
    assert one.zone is other.zone
    assert one.labels is other.labels
    assert one.parts[0].name is other.parts[0].name
    assert one.first.name is other.first.name


async def test_a_store_that_is_opened_again_shares_what_its_records_repeat():
    disk = MemoryDisk()
    store = await Store.open(MemoryLog(disk), TABLES)
    for name in "abc":
        await store.update(lambda tx, name=name: tx.put(THINGS, Thing(name, "a rather long colour")))
    await store.close()
    again = await Store.open(MemoryLog(disk), TABLES)
    records = again.all(THINGS)
    assert [one.name for one in records] == ["a", "b", "c"]
    assert len({id(one.color) for one in records}) == 1
    assert again.find(THINGS, "color", "a rather long colour") == records
