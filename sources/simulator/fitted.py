"""How real clients use language models: figures fitted to the ServeGen trace (Apache-2.0, alibaba/ServeGen).

205 clients of a production service, 14 days, windows of 600 s. `python -m benchmarks.fit_simulator` prints these
figures again from the trace. The trace counts a window with fewer than ten requests as idle, has had its dates
removed (so hours are of an unknown zone), and names no keys: the names below are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 600


@dataclass(frozen=True)
class RhythmKind:
    """One way of coming and going. A pair is mean and standard deviation over the clients of this kind."""

    name: str
    weight: float  # share of clients
    logit_share: tuple[float, float]  # of windows with traffic
    log_on_windows: tuple[float, float]  # length of a run of such windows
    log_rate: tuple[float, float]  # mean requests a second in them
    level_sd: tuple[float, float]  # of the log rate between them, after the daily shape is taken out
    log_cv: tuple[float, float]  # of the gaps between requests within one window
    level_rho: float  # correlation of the log rate with that of the window before
    weibull_share: float  # of windows whose gaps fit a Weibull better than a Gamma
    day_weights: tuple[float, ...]  # how many of them follow each of DAY_SHAPES


@dataclass(frozen=True)
class TokenShape:
    """Lengths of requests and answers: quantiles at TOKEN_PROBABILITIES."""

    name: str
    weight: float  # share of clients
    input_tokens: tuple[float, ...]
    output_tokens: tuple[float, ...]


# Hourly factors with mean 1: flat, nearly flat, office hours, evening batch.
# fmt: off
DAY_SHAPES: Final = (
    (1.0,) * 24,
    (
        1.01, 0.99, 1.23, 0.95, 0.81, 0.8, 0.87, 0.92, 0.86, 0.83, 0.96, 1.03,
        0.96, 0.93, 0.9, 0.9, 1.01, 1.04, 1.05, 1.2, 1.24, 1.19, 1.16, 1.15,
    ),
    (
        0.39, 0.27, 0.18, 0.17, 0.19, 0.19, 0.19, 0.41, 0.66, 1.46, 2.05, 2.1,
        1.36, 1.38, 1.72, 1.76, 1.94, 1.79, 1.38, 1.1, 0.97, 0.91, 0.88, 0.58,
    ),
    (
        0.16, 0.1, 0.1, 0.07, 0.06, 0.06, 0.06, 0.06, 0.07, 0.09, 0.45, 0.45,
        0.13, 0.19, 0.39, 0.67, 2.86, 5.52, 5.91, 4.18, 1.3, 0.57, 0.41, 0.14,
    ),
)
# fmt: on

RHYTHM_KINDS: Final = (
    RhythmKind(
        name="constant",
        weight=0.083,
        logit_share=(6.18, 1.92),
        log_on_windows=(6.73, 1.02),
        log_rate=(1.23, 0.92),
        level_sd=(0.91, 0.43),
        log_cv=(0.10, 0.44),
        level_rho=0.91,
        weibull_share=0.14,
        day_weights=(0.0, 0.65, 0.29, 0.06),
    ),
    RhythmKind(
        name="busy",
        weight=0.122,
        logit_share=(1.85, 2.35),
        log_on_windows=(4.44, 0.73),
        log_rate=(2.96, 1.38),
        level_sd=(0.61, 0.41),
        log_cv=(0.71, 0.75),
        level_rho=0.85,
        weibull_share=0.44,
        day_weights=(0.24, 0.68, 0.08, 0.0),
    ),
    RhythmKind(
        name="regular",
        weight=0.278,
        logit_share=(-0.25, 1.95),
        log_on_windows=(2.66, 1.03),
        log_rate=(-0.28, 0.86),
        level_sd=(1.14, 0.29),
        log_cv=(0.10, 0.50),
        level_rho=0.82,
        weibull_share=0.15,
        day_weights=(0.37, 0.42, 0.18, 0.04),
    ),
    RhythmKind(
        name="surging",
        weight=0.205,
        logit_share=(-3.07, 1.82),
        log_on_windows=(1.42, 0.97),
        log_rate=(1.16, 1.14),
        level_sd=(1.95, 0.37),
        log_cv=(0.38, 0.39),
        level_rho=0.88,
        weibull_share=0.24,
        day_weights=(0.86, 0.1, 0.02, 0.02),
    ),
    RhythmKind(
        name="rattling",
        weight=0.107,
        logit_share=(-4.33, 1.91),
        log_on_windows=(1.13, 0.61),
        log_rate=(1.12, 1.11),
        level_sd=(1.29, 0.42),
        log_cv=(2.04, 0.38),
        level_rho=0.53,
        weibull_share=0.74,
        day_weights=(0.95, 0.0, 0.05, 0.0),
    ),
    RhythmKind(
        name="rare",
        weight=0.205,
        logit_share=(-5.34, 1.41),
        log_on_windows=(0.84, 0.63),
        log_rate=(2.52, 0.99),
        level_sd=(1.22, 0.31),
        log_cv=(0.42, 0.38),
        level_rho=0.47,
        weibull_share=0.25,
        day_weights=(1.0, 0.0, 0.0, 0.0),
    ),
)

TOKEN_PROBABILITIES: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
TOKEN_SHAPES: Final = (
    TokenShape(
        name="extract",
        weight=0.222,
        input_tokens=(518, 593, 625, 717, 860, 1018, 1214, 1355, 1690, 2180),
        output_tokens=(17, 26, 29, 38, 50, 63, 82, 98, 135, 193),
    ),
    TokenShape(
        name="answer",
        weight=0.173,
        input_tokens=(350, 419, 463, 555, 734, 932, 1135, 1260, 1720, 2212),
        output_tokens=(59, 83, 96, 121, 163, 243, 323, 368, 480, 589),
    ),
    TokenShape(
        name="classify_long",
        weight=0.124,
        input_tokens=(275, 311, 354, 431, 572, 857, 1121, 1324, 1804, 2503),
        output_tokens=(2, 2, 2, 4, 13, 38, 71, 85, 121, 283),
    ),
    TokenShape(
        name="short_answer",
        weight=0.114,
        input_tokens=(86, 89, 91, 102, 123, 137, 148, 157, 178, 204),
        output_tokens=(17, 19, 21, 25, 35, 48, 60, 67, 83, 104),
    ),
    TokenShape(
        name="mixed",
        weight=0.103,
        input_tokens=(101, 125, 155, 214, 365, 799, 1476, 2466, 3797, 5086),
        output_tokens=(5, 9, 12, 22, 60, 127, 224, 293, 481, 716),
    ),
    TokenShape(
        name="label_short",
        weight=0.097,
        input_tokens=(51, 52, 54, 56, 63, 70, 77, 83, 111, 175),
        output_tokens=(2, 2, 2, 3, 4, 6, 8, 9, 27, 57),
    ),
    TokenShape(
        name="write",
        weight=0.092,
        input_tokens=(1253, 1687, 1955, 2193, 2506, 2955, 3559, 3992, 4725, 5854),
        output_tokens=(189, 290, 345, 419, 512, 637, 816, 927, 1206, 1684),
    ),
    TokenShape(
        name="label",
        weight=0.076,
        input_tokens=(290, 309, 322, 339, 364, 403, 443, 472, 565, 699),
        output_tokens=(1, 1, 1, 2, 2, 2, 3, 3, 3, 5),
    ),
)
