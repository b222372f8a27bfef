"""Reading columns of ROOT and HDF5 files in blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Shaped

from systwise.errors import DataError
from systwise.optional import optional_module
from systwise.registry import suggestion

_ELEMENT = re.compile(r"(.+)\[(-?\d+)\]")
REDUCTIONS = ("len", "sum", "max", "min")
"""What may be made of the elements of a vector."""
_REDUCED = re.compile(rf"({'|'.join(REDUCTIONS)})\((.+)\)")
_VECTORS = {
    "TLorentzVector": ("fP.fX", "fP.fY", "fP.fZ", "fE"),
    "TVector3": ("fX", "fY", "fZ"),
    "TVector2": ("fX", "fY"),
}
"""Members of ROOT's vectors."""
ROWS = 65_536
TREES = ("TTree", "TNtuple", "TNtupleD")


def open_tree(path: Path, tree: str | None) -> Any:
    """Return the TTree, TNtuple or RNTuple called `tree`, in its last cycle or in `name;1`; the only one where None.

    Raises:
        ConfigError: uproot is not installed.
        DataError: the file is no ROOT file, or the tree is missing or not the only one.
    """
    uproot = optional_module("uproot", "reading ROOT files")
    try:
        file = uproot.open(path)
        kinds = file.classnames(recursive=True, cycle=False)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as ROOT ({_first_line(error)}); check the file") from None
    trees = [name for name, kind in kinds.items() if kind in TREES or "RNTuple" in kind]
    if tree is None:
        if not trees:
            raise DataError(f"{path}: holds no tree; give a file of events")
        if len(trees) != 1:
            raise DataError(f"{path}: holds {len(trees)} trees ({', '.join(trees)}); say which one with Tree")
        tree = trees[0]
    tree = tree.lstrip("/")
    if tree.partition(";")[0] not in trees:
        raise DataError(f"{path}: no tree '{tree}'{suggestion(tree, trees)} (it has {', '.join(trees) or 'none'})")
    return file[tree]


def root_names(path: Path, tree: str | None) -> list[str]:
    """Return the names of the branches, and `branch.member` of those that hold leaf lists or ROOT's vectors."""
    return _names(open_tree(path, tree))


def _names(tree: Any) -> list[str]:
    found = list(tree.keys())
    more = [f"{name}.{member}" for name, kind in tree.typenames().items() for member in members(kind)]
    return [*found, *(name for name in more if name not in found)]


def members(kind: str) -> tuple[str, ...]:
    """Return the members of a branch's type: the leaves of a leaf list, the coordinates of ROOT's vectors.

    >>> members("struct {double x; int32_t y;}"), members("TLorentzVector"), members("double")
    (('x', 'y'), ('fP.fX', 'fP.fY', 'fP.fZ', 'fE'), ())
    """
    if kind.startswith("struct {"):
        return tuple(re.findall(r"(\w+)(?:\[\d+\])*;", kind))
    found = next((name for name in _VECTORS if re.search(rf"\b{name}\b", kind)), None)
    return () if found is None else _VECTORS[found]


def root_blocks(path: Path, names: list[str], tree: str | None) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Yield blocks of branches, and the number of entries of the tree.

    `name[i]` is element i of each entry's vector, NaN where the vector is shorter.

    Raises:
        DataError: a branch is a vector of which no element was asked for.
    """
    found = open_tree(path, tree)
    branches, present = set(found.keys()), set(_names(found))
    wanted = {}
    for name in names:
        owner, place = (name, None) if name in present else element(name)
        fields: list[str] = []
        while owner not in branches and "." in owner:
            owner, _, field = owner.rpartition(".")
            fields.insert(0, field)
        wanted[name] = owner, tuple(fields), place
    read = list(dict.fromkeys(branch for branch, _, _ in wanted.values()))
    for block in found.iterate(read, library="ak", step_size=ROWS):
        yield (
            {
                name: _flat(path, block[branch], branch, fields, place)
                for name, (branch, fields, place) in wanted.items()
            },
            int(found.num_entries),
        )


def hdf5_names(path: Path, group: str | None) -> list[str]:
    """Return the names of the columns: datasets of one length, or the fields of a structured dataset."""
    h5py = optional_module("h5py", "reading HDF5 files")
    with _open_hdf5(h5py, path) as file:
        node = _node(path, file, group)
        return list(node.dtype.names or ()) if isinstance(node, h5py.Dataset) else list(node)


def hdf5_rows(path: Path, group: str | None) -> int:
    """Return the number of rows."""
    h5py = optional_module("h5py", "reading HDF5 files")
    with _open_hdf5(h5py, path) as file:
        node = _node(path, file, group)
        return len(node) if isinstance(node, h5py.Dataset) else max((len(node[name]) for name in node), default=0)


def hdf5_blocks(path: Path, names: list[str], group: str | None) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Yield blocks of datasets or fields, and the number of rows.

    Raises:
        DataError: columns have different lengths.
    """
    h5py = optional_module("h5py", "reading HDF5 files")
    with _open_hdf5(h5py, path) as file:
        node = _node(path, file, group)
        lengths = {name: len(node) if isinstance(node, h5py.Dataset) else len(node[name]) for name in names}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"'{name}' {length}" for name, length in list(lengths.items())[:4])
            raise DataError(f"{path}: columns have different lengths ({shown}); write them again with one length")
        total = next(iter(lengths.values()), 0)
        for start in range(0, total, ROWS):
            rows = node[start : start + ROWS] if isinstance(node, h5py.Dataset) else None
            yield (
                {
                    name: np.asarray(rows[name] if rows is not None else node[name][start : start + ROWS])
                    for name in names
                },
                total,
            )


def _open_hdf5(h5py: Any, path: Path) -> Any:
    try:
        return h5py.File(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read as HDF5 ({_first_line(error)}); check the file") from None


def _node(path: Path, file: Any, group: str | None) -> Any:
    if group is None:
        return file
    if group not in file:
        raise DataError(f"{path}: no group '{group}'{suggestion(group, list(file))} (it has {', '.join(file)})")
    return file[group]


def base_name(name: str) -> str:
    """Return the branch behind `name[i]` or `sum(name)`.

    >>> base_name("jet_pt[0]"), base_name("len(jet_pt)")
    ('jet_pt', 'jet_pt')
    """
    return element(name)[0]


def element(name: str) -> tuple[str, int | str | None]:
    """Return a branch, and which element of its vectors is asked for, or what is made of all of them.

    >>> element("jet_pt[-1]"), element("max(jet_pt)"), element("x")
    (('jet_pt', -1), ('jet_pt', 'max'), ('x', None))
    """
    found = _ELEMENT.fullmatch(name)
    if found:
        return found[1], int(found[2])
    found = _REDUCED.fullmatch(name)
    return (found[2], found[1]) if found else (name, None)


def reduced(
    values: Shaped[np.ndarray, " element"], counts: Int[np.ndarray, " event"], what: int | str
) -> Float64[np.ndarray, " event"]:
    """Return one number an event of vectors that stand one after the other.

    Args:
        values: of all vectors.
        counts: their lengths.
        what: the place of an element, from the end where negative, NaN where there is none; or one of `REDUCTIONS`:
            `len` and `sum` are 0 of no elements, `max` and `min` NaN.

    >>> reduced(np.array([3.0, 5.0, 4.0]), np.array([2, 0, 1]), "max")
    array([ 5., nan,  4.])
    """
    event = np.repeat(np.arange(len(counts)), counts)
    if what == "len":
        return counts.astype(np.float64)
    if what == "sum":
        return np.bincount(event, values, len(counts))
    out = np.full(len(counts), np.nan)
    if what in ("max", "min"):
        (np.fmax if what == "max" else np.fmin).at(out, event, values.astype(np.float64))
        return out
    place = int(what)
    there = counts > place if place >= 0 else counts >= -place
    first = np.cumsum(counts) - counts
    out[there] = values[(first + (place if place >= 0 else counts + place))[there]]
    return out


def _flat(path: Path, array: Any, branch: str, fields: Sequence[str], place: int | str | None) -> np.ndarray:
    """Return one number or text an entry, of an Awkward array or of members of its records.

    Raises:
        DataError: it is a vector of which no element was asked for, or none.
    """
    import awkward as ak

    for field in fields:
        array, branch = array[field], f"{branch}.{field}"
    if ak.parameters(array).get("__array__") in ("string", "bytestring"):
        return np.array(ak.to_list(array), object)
    if ak.fields(array):
        names = ", ".join(f"{branch}.{field}" for field in ak.fields(array)[:3])
        raise DataError(f"{path}: branch '{branch}' has members; name one ({names}, ...)")
    if array.ndim == 1 and place is None:
        return ak.to_numpy(array)
    if array.ndim == 1 or place is None:
        raise DataError(f"{path}: branch '{branch}' {shape_remedy(branch, place)}")
    if array.ndim > 2:
        raise DataError(f"{path}: branch '{branch}' holds vectors of vectors, which are not read; write them flat")
    return reduced(ak.to_numpy(ak.flatten(array)), ak.to_numpy(ak.num(array)), place)


def shape_remedy(branch: str, place: int | str | None) -> str:
    """Return what to write for a branch that holds vectors, or, where an element was asked for, that holds none."""
    if place is None:
        return f"is a vector in each event; use an element, e.g. {branch}[0], or len, sum, max, min of it"
    return f"is one number an event; write {branch} without {f'[{place}]' if isinstance(place, int) else place}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
