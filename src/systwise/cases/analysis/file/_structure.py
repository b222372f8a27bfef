"""What an analysis file means: components, nuisances and their actions, all names looked up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from systwise.cases.analysis.file._formula import Polynomial, monomial, multiply, parse_polynomial
from systwise.cases.analysis.file._parts import matching
from systwise.cases.analysis.file._settings import AnalysisSettings
from systwise.cases.analysis.file._systematics import Systematic
from systwise.errors import ConfigError
from systwise.parameters import Components, Normalisation
from systwise.registry import suggestion


@dataclasses.dataclass(frozen=True)
class Term:
    """A component: the part of a sample with one monomial of the parameters of interest.

    Attributes:
        name: of the component.
        sample: number of its sample.
        weight: expression of the event weight where it is not the sample's own.
        factor: number that multiplies the weight.
        powers: exponents of the parameters of interest, `[poi]`.
    """

    name: str
    sample: int
    weight: str | None
    factor: float
    powers: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Action:
    """What one entry of Systematics does.

    Attributes:
        number: its place in the file.
        entry: the entry.
        samples: numbers of the samples that it acts on.
        regions: names of the regions that it acts in.
    """

    number: int
    entry: Systematic
    samples: tuple[int, ...]
    regions: tuple[str, ...]

    @property
    def where(self) -> str:
        """Its path in the file, for messages."""
        return f"Systematics.{self.number} ('{self.entry.name}')"


def find(name: str, known: Sequence[str], where: str, what: str) -> int:
    """Return the place of `name` among the known ones.

    Raises:
        ConfigError: it is none of them.
    """
    if name not in known:
        raise ConfigError(
            f"{where}: unknown {what} '{name}'{suggestion(name, list(known))} (known: {', '.join(known)})"
        )
    return list(known).index(name)


def chosen_samples(names: Sequence[str] | None, settings: AnalysisSettings, where: str) -> tuple[int, ...]:
    """Return the numbers of the samples that patterns name.

    Raises:
        ConfigError: a pattern matches none.
    """
    known = [sample.name for sample in settings.processes]
    return tuple(known.index(name) for name in matching(names, known, where, "sample"))


def freely_normalised(settings: AnalysisSettings) -> frozenset[str]:
    """Return the names of the samples whose yield a free factor multiplies, parameters of interest left out."""
    return frozenset(
        settings.processes[k].name
        for factor in settings.norm_factors
        if factor.name not in settings.general.poi and not factor.fixed
        for k in chosen_samples(factor.samples, settings, f"NormFactors ('{factor.name}').Samples")
    )


def _refuse_twice(names: Sequence[str], where: str) -> None:
    for name in names:
        if list(names).count(name) > 1:
            raise ConfigError(f"{where}: '{name}' occurs twice; give each its own Name")


def actions(settings: AnalysisSettings) -> tuple[Action, ...]:
    """Return the systematic uncertainties with their samples looked up.

    Raises:
        ConfigError: a sample is unknown, or two entries of one nuisance contradict each other.
    """
    out: list[Action] = []
    for number, entry in enumerate(settings.systematics):
        action = _action(number, entry, settings)
        for other in out:
            if other.entry.name != entry.name:
                continue
            for key in ("constraint", "nominal", "width", "range", "training", "kind"):
                if key in entry.model_fields_set and getattr(entry, key) != getattr(other.entry, key):
                    raise ConfigError(
                        f"{action.where}: {key.capitalize()} is {getattr(entry, key)} here and "
                        f"{getattr(other.entry, key)} in Systematics.{other.number}; give it once"
                    )
            both = set(action.samples) & set(other.samples)
            if both and set(action.regions) & set(other.regions) and other.entry.way == entry.way:
                raise ConfigError(
                    f"{action.where}: acts on sample '{settings.processes[min(both)].name}' as "
                    f"Systematics.{other.number} does already; leave the sample out of one of them"
                )
        if entry.nominal != 0 and entry.way == "normalisation":
            raise ConfigError(f"{action.where}: Nominal of a normalisation is 0; leave it out")
        out.append(action)
    taken = {action.entry.name for action in out} & {factor.name for factor in settings.norm_factors}
    if taken:
        raise ConfigError(f"Systematics: '{min(taken)}' is the name of a NormFactor; choose another")
    return tuple(out)


def _action(number: int, entry: Systematic, settings: AnalysisSettings) -> Action:
    samples = chosen_samples(entry.samples, settings, f"Systematics.{number}.Samples")
    driven = [k for k in samples if settings.processes[k].estimate is not None]
    if entry.samples is None:
        samples = tuple(k for k in samples if k not in driven)
    action = Action(number, entry, samples, settings.in_regions(entry.regions, f"Systematics.{number}.Regions"))
    if entry.samples is not None and driven and entry.way != "normalisation":
        raise ConfigError(
            f"{action.where}: sample '{settings.processes[driven[0]].name}' is estimated from data, whose events "
            "nothing shifts; give it a Normalization of its own, or leave it out of Samples"
        )
    return action


def is_rate(name: str, found: Sequence[Action]) -> bool:
    """Return whether a nuisance changes yields and nothing else."""
    return all(action.entry.way == "normalisation" for action in found if action.entry.name == name)


def build_terms(settings: AnalysisSettings) -> tuple[Term, ...]:
    """Return the components, those that depend on a parameter of interest first.

    Raises:
        ConfigError: a formula is no polynomial of the parameters of interest, or a name is unknown.
    """
    _refuse_twice([factor.name for factor in settings.norm_factors], "NormFactors")
    pois = settings.general.poi
    factors = {factor.name: factor for factor in settings.norm_factors}
    for name in pois:
        find(name, list(factors), "General.POI", "NormFactor")
        if factors[name].fixed:
            raise ConfigError(
                f"NormFactors ('{name}').Fixed: a parameter of interest is free; take it out of General.POI"
            )
        if factors[name].regions is not None:
            raise ConfigError(
                f"NormFactors ('{name}').Regions: a parameter of interest acts in all regions; let Samples say on what"
            )
    one: Polynomial = {(0,) * len(pois): 1.0}
    used = _names_in_formulas(settings)
    terms: list[Term] = []
    for number, sample in enumerate(settings.processes):
        where = f"{settings.place(sample)} ('{sample.name}')"
        common = one
        for name in pois:
            listed = factors[name].samples
            chosen = chosen_samples(listed, settings, f"NormFactors ('{name}').Samples")
            if name not in used if listed is None else number in chosen:
                common = multiply(common, parse_polynomial(name, pois, where))
        if sample.components and (sample.formula is not None or sample.weight != "1"):
            raise ConfigError(f"{where}: has Components, so that Weight and Formula have no meaning; leave them out")
        parts: list[tuple[str, str | None, Polynomial]] = [
            (f"{sample.name} {name}", part.weight, parse_polynomial(part.formula, pois, f"{where}.Components.{name}"))
            for name, part in sample.components.items()
        ] or [(sample.name, None, parse_polynomial(sample.formula or "1", pois, f"{where}.Formula"))]
        for name, weight, own in parts:
            product = multiply(common, own)
            for powers, factor in product.items():
                label = name if len(product) == 1 else f"{name} {monomial(powers, pois)}"
                terms.append(Term(label, number, weight, factor, powers))
    return tuple(sorted(terms, key=lambda term: not any(term.powers)))


def _names_in_formulas(settings: AnalysisSettings) -> set[str]:
    texts = {
        f"{settings.place(sample)} ('{sample.name}').Formula": sample.formula
        for sample in settings.processes
        if sample.formula is not None
    }
    for sample in settings.processes:
        for name, part in sample.components.items():
            texts[f"{settings.place(sample)} ('{sample.name}').Components.{name}.Formula"] = part.formula
    pois = settings.general.poi
    found: set[str] = set()
    for where, text in texts.items():
        for powers in parse_polynomial(text, pois, where):
            found |= {name for name, power in zip(pois, powers, strict=True) if power}
    return found


def build_components(settings: AnalysisSettings, terms: Sequence[Term]) -> Components:
    """Return the components and their coefficients.

    Raises:
        ConfigError: nothing or everything depends on the parameters of interest and there is no alternative.
    """
    pois = settings.general.poi
    factors = {factor.name: factor for factor in settings.norm_factors}
    nominal = tuple(factors[name].nominal for name in pois)
    given = settings.general.alternative
    for name in given:
        find(name, pois, "General.Alternative", "parameter of interest")
    alternative = tuple(given.get(name, value) for name, value in zip(pois, nominal, strict=True)) if given else None
    depends = [any(term.powers) for term in terms]
    if not any(depends):
        raise ConfigError(f"NormFactors: no sample depends on {pois[0]}; name its samples, or write it in a Formula")
    if all(depends) and alternative is None:
        raise ConfigError(
            "General.Alternative: all samples depend on the parameters of interest; give the values of a hypothesis "
            f"to tell from the nominal one, e.g. {{{pois[0]}: {nominal[0] + 0.5:g}}}"
        )
    return Components(
        tuple(term.name for term in terms),
        pois,
        tuple(term.powers for term in terms),
        nominal,
        tuple(factors[name].bounds or (-2.0, 10.0) for name in pois),
        alternative,
    )


def build_normalisations(
    settings: AnalysisSettings, terms: Sequence[Term], found: Sequence[Action], region: str
) -> tuple[Normalisation, ...]:
    """Return the factors on yields in a region: free ones first, then those of systematic uncertainties."""
    out = []
    for number, factor in enumerate(settings.norm_factors):
        if factor.name in settings.general.poi:
            continue
        if region not in settings.in_regions(factor.regions, f"NormFactors.{number}.Regions"):
            continue
        if factor.nominal != 1:
            raise ConfigError(
                f"NormFactors.{number}.Nominal: is 1 for a factor that is no POI; scale the Weight instead"
            )
        chosen = chosen_samples(factor.samples, settings, f"NormFactors.{number}.Samples")
        if factor.fixed:
            continue
        out.append(Normalisation(factor.name, tuple(t.name for t in terms if t.sample in chosen)))
    for action in found:
        if is_rate(action.entry.name, found) and region in action.regions:
            down, up = rate_factors(action.entry)
            names = tuple(term.name for term in terms if term.sample in action.samples)
            out.append(Normalisation(action.entry.name, names, "lognormal", up=up, down=down))
    return tuple(out)


def rate_factors(entry: Systematic) -> tuple[float, float]:
    """Return the factors (down, up) of a normalisation; a mirror image has the opposite relative change."""
    changes: list[float | None] = [
        None if side is None or side.symmetrize else side.normalization for side in (entry.down, entry.up)
    ]
    down, up = changes
    if up is None and down is not None:
        up = -down
    if down is None and up is not None:
        down = -up
    if up is None or down is None:
        raise ConfigError(f"Systematics ('{entry.name}'): give Normalization in Up and Down")
    return 1 + down, 1 + up


def mirrored_sides(found: Sequence[Action]) -> dict[str, int]:
    """Return the nuisances with a symmetrised side in every entry, with the sign of that side."""
    sides: dict[str, set[int]] = {}
    for action in found:
        entry = action.entry
        side = 1 if entry.up and entry.up.symmetrize else -1 if entry.down and entry.down.symmetrize else 0
        sides.setdefault(entry.name, set()).add(side)
    return {name: min(own) for name, own in sides.items() if len(own) == 1 and 0 not in own}
