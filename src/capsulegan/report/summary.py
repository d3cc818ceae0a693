"""The study in a few plain sentences, computed from its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capsulegan.report import words
from capsulegan.report.battle import battles_of, verdicts
from capsulegan.report.classification import kernel_groups, label_counts
from capsulegan.report.comparisons import effects_on
from capsulegan.report.intervals import mean_of, paired_difference
from capsulegan.report.table import Row, Seeds, by_seed, chosen, plus_minus

Ranking = list[tuple[str, Seeds, float]]  # (model, its seeds, its mean), the lowest mean first


@dataclass(frozen=True)
class Summary:
    """What was trained, and what was found, topic by topic."""

    subject: str
    findings: dict[str, str]


def summary_of(results: Mapping[str, Any], settings: Mapping[str, Any]) -> Summary:
    """Return who won, by how much and with how many seeds; topics without figures are left out."""
    rows: Sequence[Row] = results["rows"]
    failures = len(results["failures"])
    findings = {
        "Battle": _battle(rows),
        "Classification": _classification(rows),
        "Distance": _distance(rows),
        "Capsules or loss": _effects(rows),
        "Failures": f"{words.count(failures, 'failed stage')} listed at the end." if failures else "",
    }
    return Summary(
        _subject(rows, results, settings), {topic: text for topic, text in findings.items() if text}
    )


def models_of(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[str]:
    """Return the models that the study set out to train and those that it has figures of."""
    found = (model for row in rows for model in row["model"].split(":"))
    others = words.CONTROLS | words.JUDGES
    return [m for m in dict.fromkeys([*map(str, settings.get("models", [])), *found]) if m not in others]


def _subject(rows: Sequence[Row], results: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    models = models_of(rows, settings)
    seeds = {model: {r["seed"] for r in rows if model in r["model"].split(":")} for model in models}
    data = words.data_name(str(results["data"].get("name", "")))
    seen = {int(each) for m in models for each in by_seed(chosen(rows, model=m, figure="images")).values()}
    images = [settings["images"]] if isinstance(settings.get("images"), int) else []
    if seen and (not images or min(seen) < images[0]):  # of runs that were ended sooner
        images = sorted({min(seen), max(seen)})
    shown = f" for {' to '.join(f'{each:,}' for each in images)} images a run" if images else ""
    alike: dict[int, list[str]] = {}
    for model in models:
        alike.setdefault(len(seeds[model]), []).append(words.model_name(model))
    absent = alike.pop(0, [])
    parts = [f"{words.listed(names)}, {words.count(size, 'seed')}" for size, names in alike.items()]
    text = f"Trained on {data}{shown}: {'; '.join(parts) or 'no model'}."
    if max(alike, default=0) < 2:
        text += " One seed: no statement about chance can be made."
    return f"{text} There are no figures of {words.listed(absent)}." if absent else text


def _battle(rows: Sequence[Row]) -> str:
    battles = battles_of(rows)
    sentences = []
    for pair, rule, own in battles:
        if pair != battles[0][0]:
            continue
        ratios = [by_seed(chosen(own, figure=figure)) for figure in ("r_samples", "r_test")]
        shown = (
            f"{name} {words.number(mean_of([*ratio.values()]).value, 2)}"
            if ratio
            else f"{name} not measurable"
            for name, ratio in zip(("r_samples", "r_test"), ratios, strict=True)
        )
        given = verdicts(pair, own)
        verdict = " and ".join(dict.fromkeys(given)) or "no verdict"
        if len(set(given)) > 1:
            shares = (f"{v} ({given.count(v)} of {len(given)} seeds)" for v in dict.fromkeys(given))
            verdict = ", ".join(shares)
        cut = {"paper": "the paper's cut at 0.5", "balanced": "the balanced cut"}.get(rule, rule)
        sentences.append(f"{verdict} at {cut} ({', '.join(shown)})")
    if not sentences:
        return ""
    pair = words.model_name(battles[0][0]).replace(" : ", " against ")
    others = len({pair for pair, _, _ in battles}) - 1
    more = f" {words.count(others, 'more pair')} in the table." if others else ""
    return f"{pair}: {'; '.join(sentences)}.{more}"


def _ranked(rows: Sequence[Row]) -> Ranking:
    """Rank the models that have most seeds by mean, the lowest first: the best in errors and distances."""
    models = [model for model in dict.fromkeys(row["model"] for row in rows) if model not in words.CONTROLS]
    seeds = {model: by_seed(chosen(rows, model=model)) for model in models}
    most = max(map(len, seeds.values()), default=0)  # means over three seeds and over one do not compare
    ranking = [(m, s, mean_of([*s.values()]).value) for m, s in seeds.items() if s and len(s) == most]
    return sorted(ranking, key=lambda entry: entry[2])


def _order(ranking: Ranking, places: int | None = None) -> str:
    """Return "CapsuleGAN 0.405 before GAN 0.483 (a lead of ...)"."""
    best = [f"{words.model_name(model)} {words.number(mean, places)}" for model, _, mean in ranking[:2]]
    tied = len(ranking) > 1 and ranking[0][2] == ranking[1][2]
    text = (" like " if tied else " before ").join(best)
    if len(ranking) > 1 and (lead := paired_difference(ranking[0][1], ranking[1][1])):
        kind = "clear of 0" if lead.excludes_zero else "that includes 0"
        shown = plus_minus(lead.value, lead.half_width or 0, places + 1 if places else None)
        text += f" (a lead of {shown}, a 95 % interval {kind})"
    return text


def _classification(rows: Sequence[Row]) -> str:
    sentences = []
    for kernel, group in kernel_groups(rows)[:1]:
        shown, helped, compared = [], [], []
        for n in label_counts(group):
            ranking = _ranked(at := chosen(group, labels=n))
            if ranking:
                shown.append(f"with {words.count(n, 'label')} {_order(ranking, 3)}")
                if alone := by_seed(chosen(at, model="labelled-only")):
                    compared.append(n)
                    helped += [n] * (ranking[0][2] < mean_of([*alone.values()]).value)
        if shown:
            text = f"Error with generated images as unlabelled data, {kernel} (lower is better): "
            sentences.append(f"{text}{'; '.join(shown)}.")
        if compared:
            where = words.listed([f"{n:,}" for n in helped])
            sentences.append(
                f"The best model's images did better than the labelled images alone with {where} labels."
                if helped
                else "No model's images did better than no images at all."
            )
    return " ".join(sentences)


def _distance(rows: Sequence[Row]) -> str:
    ranking = _ranked(_distances(rows))
    return f"Fréchet distance (lower is better): {_order(ranking)}." if ranking else ""


def _effects(rows: Sequence[Row]) -> str:
    """Say what capsules and what the loss change, where all four models are there to tell."""
    seen = _distances(rows)
    values = {model: by_seed(chosen(seen, model=model)) for model in dict.fromkeys(r["model"] for r in seen)}
    found = [
        f"{effect}: {plus_minus(mean.value, mean.half_width or 0)}"
        for effect, mean in effects_on(values).items()
        if mean
    ]
    return f"Change of the Fréchet distance (mean and 95 % interval): {'; '.join(found)}." if found else ""


def _distances(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the Fréchet distances on the features that are named first."""
    own = chosen(rows, table="evaluation", figure="frechet_distance")
    return chosen(own, features=own[0]["settings"].get("features")) if own else []
