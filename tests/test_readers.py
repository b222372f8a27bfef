"""Reading, checking and writing events: round trips first, then one clear sentence for each bad input."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import http.server
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from systwise.cases.higgsml import FEATURES, Higgsml, HiggsmlSettings
from systwise.errors import DataError
from systwise.events import Events, EventTable
from systwise.events._checks import check_events, process_yields
from systwise.events._download import fetch
from systwise.events._readers import file_fingerprint, read_blocks
from systwise.events._writers import varied_table, write_varied

COLUMNS = ["EventId", "DER_mass_MMC", *FEATURES, "Weight", "Label", "KaggleSet", "KaggleWeight"]


def challenge(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Return invented events with the challenge's columns, values rounded as in the file."""
    draw = np.random.default_rng(seed)
    out: dict[str, np.ndarray] = {"EventId": np.arange(100_000, 100_000 + count)}
    jets = draw.integers(0, 4, count)
    for name in COLUMNS[1:-4]:
        values = draw.uniform(-3, 3, count) if name.endswith(("_eta", "_phi")) else draw.exponential(40, count)
        values = values + 20 * name.endswith(("tau_pt", "lep_pt"))
        out[name] = np.round(values, 3)
    for least, jet in ((1, "leading"), (2, "subleading")):
        for kind in ("pt", "eta", "phi"):
            out[f"PRI_jet_{jet}_{kind}"][jets < least] = -999.0
    out["PRI_jet_num"] = jets
    signal = np.arange(count) % 3 == 0
    out["Weight"] = np.where(signal, 0.0018636116672, np.where(np.arange(count) % 3 == 1, 0.22687012, 1.5))
    out["Label"] = np.where(signal, "s", "b")
    out["KaggleSet"] = np.full(count, "t")
    out["KaggleWeight"] = out["Weight"]
    return {name: out[name] for name in COLUMNS}


def write_csv(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """Write columns as csv, gzipped where the name says so."""
    table = pa.table(columns)
    if path.suffix == ".gz":
        with gzip.open(path, "wb", compresslevel=1) as file:
            pa.csv.write_csv(table, file)
    else:
        pa.csv.write_csv(table, path)
    return path


def load(path: Path) -> EventTable:
    """Load a file as the case does."""
    return Higgsml(HiggsmlSettings(data=path)).load(0)


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    """Three hundred events."""
    return challenge(300)


@pytest.fixture(scope="module")
def table(columns, tmp_path_factory) -> EventTable:
    """The same events, loaded."""
    return load(write_csv(tmp_path_factory.mktemp("events") / "events.csv", columns))


# Round trips


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz", "events.parquet"])
def test_all_formats_give_the_same_events(name, columns, table, tmp_path):
    """csv, csv.gz and parquet, and a file's own column order plays no part."""
    path = tmp_path / name
    turned = dict(reversed(columns.items()))
    pq.write_table(pa.table(turned), path) if name.endswith("parquet") else write_csv(path, turned)
    other = load(path)
    for part in ("features", "weights", "process", "id"):
        np.testing.assert_array_equal(getattr(other, part), getattr(table, part))
    assert other.fingerprint == file_fingerprint(path)
    assert other.features.dtype == np.float32
    assert other.id.dtype == np.int64


def test_loading_keeps_order_and_scales_each_class(columns, table):
    """Primitive columns arrive as they are; weights sum to the expected yields, one factor a class."""
    np.testing.assert_array_equal(table.id, columns["EventId"])
    for name in ("PRI_tau_pt", "PRI_jet_leading_eta", "DER_mass_jet_jet"):
        np.testing.assert_array_equal(table.features[:, FEATURES.index(name)], columns[name].astype(np.float32))
    np.testing.assert_allclose(table.weights.sum(axis=0, dtype=float), [691.9886, 410_999.8473], rtol=1e-6)
    background = columns["Label"] == "b"
    assert np.ptp(table.weights[background, 1] / columns["Weight"][background]) < 0.1
    yields = process_yields(table)
    assert yields.shape == (4, 2)
    assert yields[:, 0].nonzero()[0].tolist() == [table.processes.index("signal")]
    assert yields[table.processes.index("ttbar"), 1] > 0
    assert yields[table.processes.index("Z"), 1] == 0


def test_blocks_come_in_the_order_and_types_asked_for(tmp_path):
    """Several blocks of a parquet file join to its rows."""
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"b": np.arange(150_000), "a": np.arange(150_000) / 2, "c": ["x"] * 150_000}), path)
    seen: list[tuple[int, int]] = []
    blocks = list(
        read_blocks(path, {"a": "float32", "b": "int64"}, lambda what, done, total: seen.append((done, total)))
    )
    assert len(blocks) > 1
    assert blocks[0].schema.names == ["a", "b"]
    assert blocks[0].schema.types == [pa.float32(), pa.int64()]
    np.testing.assert_array_equal(np.concatenate([b.column("b").to_numpy() for b in blocks]), np.arange(150_000))
    assert seen[-1] == (150_000, 150_000)


def cut(events: Events) -> Events:
    """Double a feature and drop what is above 100, as a case's `vary` would."""
    features = events.features.at[:, 0].multiply(2)
    kept = features[:, 0] < 100
    return eqx.tree_at(
        lambda e: (e.features, e.weights), events, (features, jnp.where(kept[:, None], events.weights, 0))
    )


def test_varied_events_are_written_whole(table, tmp_path):
    """Every row in its order, weights of cut events zero, `kept` right even where a weight was zero before."""
    weights = table.weights.copy()
    weights[:5] = 0
    table = dataclasses.replace(table, weights=weights)
    path = write_varied(tmp_path / "out.parquet", table, cut, {"case": "test", "tes": "0.9"})
    written = pq.read_table(path)
    assert written.equals(varied_table(table, cut, {"case": "test", "tes": "0.9"}))
    expected = 2 * table.features[:, 0]
    np.testing.assert_array_equal(written[FEATURES[0]].to_numpy(), expected)
    np.testing.assert_array_equal(written[FEATURES[1]].to_numpy(), table.features[:, 1])
    np.testing.assert_array_equal(written["id"].to_numpy(), table.id)
    kept = written["kept"].to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(kept, expected < 100)
    assert 0 < kept.sum() < len(table)
    np.testing.assert_array_equal(written["weight_signal"].to_numpy(), np.where(kept, weights[:, 0], 0))
    np.testing.assert_allclose(written["weight"].to_numpy(), np.where(kept, weights.sum(axis=1), 0), rtol=1e-6)
    assert written["process"].to_pylist() == [table.processes[code] for code in table.process]
    assert written.schema.metadata[b"tes"] == b"0.9"
    assert written.schema.metadata[b"fingerprint"].decode() == table.fingerprint


def test_blocks_of_any_size_give_the_same_file(table):
    """The last block is filled up for the device, not in the output."""
    from systwise.events._writers import varied_blocks, varied_schema

    small = pa.Table.from_batches(list(varied_blocks(table, cut, size=77)), varied_schema(table))
    assert small.num_rows == len(table)
    assert small.equals(varied_table(table, cut))


def test_interrupted_writing_leaves_the_old_file(table, tmp_path):
    """Nothing half-written, nothing lost, no temporary file."""
    path = tmp_path / "out.parquet"
    path.write_bytes(b"precious")

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_varied(path, table, cut, report=stop)
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


def test_writing_into_a_missing_folder(table, tmp_path):
    """The sentence names the file."""
    with pytest.raises(DataError, match=r"none/out.parquet: cannot be written .* choose an existing folder"):
        write_varied(tmp_path / "none" / "out.parquet", table, cut)


# Bad files


def change(column: str, row: int, value: object) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return a function that replaces one value."""

    def apply(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = columns[column].astype(object)
        values[row] = value
        kind = object if isinstance(value, str) and column != "Label" else columns[column].dtype
        return {**columns, column: np.array([str(v) for v in values]) if kind is object else values.astype(kind)}

    return apply


def scale(label: str, factor: float) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return a function that scales the weights of a class."""
    return lambda c: {**c, "Weight": np.where(c["Label"] == label, factor * c["Weight"], c["Weight"])}


def only(label: str) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return a function that keeps one class."""
    return lambda c: {name: values[c["Label"] == label] for name, values in c.items()}


BAD = {
    "missing column": (
        lambda c: {("PRI_tau_PT" if n == "PRI_tau_pt" else n): v for n, v in c.items()},
        r"column 'PRI_tau_pt' is missing, did you mean 'PRI_tau_PT'\?",
    ),
    "wrong label": (change("Label", 7, "x"), r"column 'Label' is 'x' in row 8 of the data; it must be 's'"),
    "empty label": (change("Label", 0, ""), r"column 'Label' is '' in row 1 "),
    "NaN": (change("DER_sum_pt", 4, np.nan), r"feature 'DER_sum_pt' is NaN or infinite in 1 of 300 events, .* 100004"),
    "NaN in an angle": (change("PRI_tau_phi", 4, np.nan), r"feature 'PRI_tau_phi' is NaN .*first in event 100004"),
    "infinite": (change("PRI_met", 9, np.inf), r"feature 'PRI_met' is NaN or infinite in 1 of .* event 100009"),
    "text among numbers": (change("PRI_met", 3, "tall"), r"column 'PRI_met': CSV conversion error .*'tall'"),
    "undefined momentum": (change("PRI_tau_pt", 2, -999.0), r"'PRI_tau_pt' must be above zero, .* 1 events, .*100002"),
    "NaN weight": (change("Weight", 5, np.nan), r"weight of component '\w+' is NaN or infinite in 1 of .*event 100005"),
    "zero weights": (scale("s", 0.0), r"all weights of process 'signal' are zero"),
    "negative yield": (scale("s", -1.0), r"process 'signal' has a negative total yield of -\S+ events"),
    "no background": (only("s"), r"component 'background' has no events"),
    "no signal": (only("b"), r"component 'signal' has no events"),
    "no events": (lambda c: {name: values[:0] for name, values in c.items()}, r"no events"),
    "repeated id": (change("EventId", 8, 100_003), r"event id 100003 occurs 2 times \(1 ids are repeated\)"),
    "empty id": (change("EventId", 8, ""), r"column 'EventId' has empty values"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_content_gives_one_sentence(name, columns, tmp_path):
    """The message begins with the file, then names column, process, event or row."""
    spoil, message = BAD[name]
    path = write_csv(tmp_path / "bad.csv", spoil(columns))
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def write_bytes(content: bytes) -> Callable[[Path], None]:
    """Return a function that writes a file."""
    return lambda path: path.write_bytes(content) and None


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("none.parquet", lambda path: None, "no such file"),
        ("folder.csv", Path.mkdir, "is a folder"),
        (
            "events.txt",
            write_bytes(b"1,2"),
            "unknown format; use a file that ends in .root, .parquet, .h5, .csv or .csv.gz",
        ),
        ("events.parquet", write_bytes(b"EventId,Label\n1,s\n"), "cannot be read as parquet"),
        ("events.csv.gz", write_bytes(b"EventId,Label\n1,s\n"), "cannot be read as csv"),
        ("events.csv", write_bytes(b"\x89\x00\xff\n\xfe"), "cannot be read as csv|is missing"),
    ],
)
def test_bad_files_give_one_sentence(name, make, message, tmp_path):
    """Missing, mistaken and damaged files."""
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def test_truncated_download_is_refused(columns, tmp_path):
    """A gzip file that ends too early is not taken for a short one."""
    path = write_csv(tmp_path / "events.csv.gz", columns)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="check that the file is complete"):
        load(path)


# Checks on tables of any case


def test_checks_find_faults_beyond_the_first_block():
    """A fault late in a large table is found and counted, with the id of its first event."""
    count = 600_000
    good = EventTable(
        features=np.zeros((count, 1), np.float32),
        weights=np.ones((count, 1), np.float32),
        process=np.zeros(count, np.int8),
        id=np.arange(count),
        feature_names=("x",),
        component_names=("all",),
        processes=("one", "unused"),
        source="made",
        fingerprint="",
    )
    assert check_events(good) is good
    features = good.features.copy()
    features[[550_000, 590_000]] = np.inf
    with pytest.raises(DataError, match=r"made: feature 'x' is NaN or infinite in 2 of 600,000 .* event 550000"):
        check_events(dataclasses.replace(good, features=features))
    with pytest.raises(DataError, match=r"weights have the shape \(600000, 1\) where \(600000, 2\)"):
        check_events(dataclasses.replace(good, component_names=("a", "b")))
    with pytest.raises(DataError, match=r"process codes reach from 0 to 0, the names are 0"):
        check_events(dataclasses.replace(good, processes=()))


def test_negative_component_of_a_positive_process_is_allowed(table):
    """An interference component may be negative; a process as a whole may not."""
    weights = np.stack([np.full(300, 2.0), np.full(300, -1.0)], axis=1).astype(np.float32)
    assert check_events(dataclasses.replace(table, weights=weights))
    with pytest.raises(DataError, match="negative total yield"):
        check_events(dataclasses.replace(table, weights=-weights))


# Downloads, from a server on this machine


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, list[str]]]:
    """A folder served over HTTP, and the requests that came."""
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            requests.append(self.path)

    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "events.csv").write_bytes(b"a,b\n1,2\n" * 5000)
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{service.server_address[1]}/events.csv", requests
    service.shutdown()
    service.server_close()
    thread.join()


def test_download_comes_once_and_is_verified(server, tmp_path):
    """The second call takes the copy; a damaged copy is fetched again; progress reaches the total."""
    url, requests = server
    checksum = f"sha256:{file_fingerprint(tmp_path / 'served' / 'events.csv')}"
    seen: list[tuple[int, int]] = []
    get = functools.partial(
        fetch, url, checksum, lambda what, done, total: seen.append((done, total)), "ask", tmp_path / "cache"
    )
    path = get()
    assert path.read_bytes() == b"a,b\n1,2\n" * 5000
    assert seen[-1] == (40_000, 40_000)
    assert get() == path
    assert len(requests) == 1
    path.write_bytes(b"damaged")
    assert get().read_bytes() == b"a,b\n1,2\n" * 5000
    assert len(requests) == 2


def test_failed_downloads_leave_nothing(server, tmp_path):
    """A wrong checksum and an absent server: one sentence with the remedy, no file."""
    url, _ = server
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"checksum is not sha256:0+; take another"):
        fetch(url, "sha256:" + "0" * 64, lambda *a: None, "take another", cache)
    with pytest.raises(DataError, match=r"the download failed \(HTTPError\); take another"):
        fetch(url + ".gz", "sha256:" + "0" * 64, lambda *a: None, "take another", cache)
    assert list(cache.iterdir()) == []


# Size


LOAD = """
import resource, sys, time
from systwise.cases.higgsml import Higgsml, HiggsmlSettings
base, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
table = Higgsml(HiggsmlSettings(data=sys.argv[1])).load(0)
seconds = time.perf_counter() - start
print(len(table), seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024)
"""


@pytest.mark.slow
def test_full_size_file_loads_within_memory(tmp_path):
    """A csv.gz of 818,238 events, the full file's number, in a process of its own."""
    path = write_csv(tmp_path / "events.csv.gz", challenge(818_238))
    done = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=True)
    count, seconds, megabytes = (float(word) for word in done.stdout.split())
    assert count == 818_238
    assert seconds < 120
    # The features are 95 MB, twice that while blocks are joined.
    assert megabytes < 700
