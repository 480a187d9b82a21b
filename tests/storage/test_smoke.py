from storage.archiving import resume, write
from storage.checkpoint import Checkpoint
from storage.store import Store
from tests.storage.frames import T0, Use, frame


def test_it(store: Store):
    a = resume(store, "usage.frames", 0, offset=0, metadata="", now_ms=T0)
    a.add(0, frame([Use("e1", 0), Use("e2", 1, key_id="fp1:b")]), now_s=0)
    a.add(1, None, now_s=0)
    a.add(2, frame([Use("e1", 2)]), now_s=0)
    print(a.intent())
    b = write(store, a)
    print(b.token, b.retries, b.table.num_rows)
    b = write(store, a)
    c = a.done()
    print(c)
    print(
        store.connection.rows(
            "select frame_offset, frame_row, raw_offset, event_id, retry, key_id, endpoint, ts from usage_events final"
        )
    )
    print(store.rollup_vs_raw(), store.usage_totals(), store.keys(0), store.key_use("fp1:a", 0, T0 * 2))
    a = resume(store, "usage.frames", 0, offset=c.offset, metadata=c.metadata, now_ms=T0)
    print(len(a._seen), a._seen.floor_ms, a.checkpoint)
    print(store.connection.rows("show create table usage_events")[0][0][-500:])
    assert 0
