"""Statistics of a data set: size, time span, sparsity, kinds, and how its files were read."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import sorted_distinct
from tastemaker.data.times import format_moment


def describe(data: Dataset) -> dict[str, Any]:
    """The statistics that `validate` shows, as a stable structure for programs.

    For each event type, `liked` and `disliked` are as of the end of the data. `replaced` events,
    which a later event of the same user and item replaced, count as neither.
    """
    log = data.events
    weight, is_replaced = log.weight, ~log.counts_at(np.arange(len(log)), np.array(data.end))
    per_user = np.diff(log.offsets)
    per_item = np.bincount(log.item, minlength=len(data.catalogue))
    pairs = data.events.user.astype(np.int64) * len(data.catalogue) + log.item
    distinct = len(sorted_distinct(pairs))
    has_moments = data.clock == "absolute" and len(log) > 0
    logs = [report for report in data.reports if report.table == "events"]
    reasons: Counter[str] = sum((Counter(report.reasons) for report in logs), Counter())
    return {
        "events": {
            "read": sum(report.read for report in logs) if logs else len(log),
            "kept": len(log),
            "quarantined": sum(report.quarantined for report in logs),
            "duplicates": sum(report.duplicates for report in logs),
            "duplicate_rows": sum(report.duplicate_rows for report in logs),
            "repeated_pairs": len(log) - distinct,
            "reasons": dict(reasons.most_common()),
        },
        "users": len(data.users),
        "items": len(data.catalogue),
        "items_with_events": int((per_item > 0).sum()),
        "density": distinct / (len(data.users) * len(data.catalogue)),
        "clock": data.clock,
        "from": format_moment(int(log.time.min())) if has_moments else None,
        "to": format_moment(int(log.time.max())) if has_moments else None,
        "events_per_user": _quantiles(per_user),
        "events_per_item": _quantiles(per_item),
        "users_with_fewer_than_5_events": float((per_user < 5).mean()),
        "item_popularity_gini": _gini(per_item),
        "kinds": {
            name: {
                "events": int((log.kind == code).sum()),
                "liked": int(((log.kind == code) & (weight > 0)).sum()),
                "disliked": int(((log.kind == code) & (weight < 0)).sum()),
                "replaced": int(((log.kind == code) & is_replaced).sum()),
            }
            for code, name in enumerate(data.kinds)
        },
        "left_out": data.left_out.lines(),
        "tables": {
            report.source: {
                "table": report.table,
                "read": report.read,
                "kept": report.kept,
                "quarantined": report.quarantined,
                "reasons": report.reasons,
                "not_used": list(report.unused),
                "notes": list(report.notes),
            }
            for report in data.reports
        },
    }


def _quantiles(counts: NDArray[np.int64]) -> dict[str, float]:
    names = ("min", "quarter", "median", "three_quarters", "p99", "max")
    points = np.quantile(counts, [0, 0.25, 0.5, 0.75, 0.99, 1])
    return dict(zip(names, points.tolist()))


def _gini(counts: NDArray[np.int64]) -> float:
    """The Gini coefficient: 0 if all items are equally popular, near 1 if one has all events."""
    ordered, n = np.sort(counts), len(counts)
    return float(ordered @ (2.0 * np.arange(1, n + 1) - n - 1) / (n * ordered.sum()))
