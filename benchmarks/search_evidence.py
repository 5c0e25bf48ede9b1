"""Makes the evidence of the search: score x sparsity x seed on SST-2, beside dense and random tickets.

    python benchmarks/search_evidence.py                                   # everything that is not done yet
    python benchmarks/search_evidence.py --arms dense taylor@50 --seeds 0  # a part of it
    python benchmarks/search_evidence.py --data train --gate_budget 1 --arms dense taylor@50 gate@50 --seeds 0
                                                                           # an epoch of real length
    python benchmarks/search_evidence.py --encoder mpnet --learning_rate 3e-5 --arms dense taylor@50 --seeds 0
                                                                           # a base-size encoder

One JSON file per arm and seed in docs/evidence/search, of other texts and encoders in a folder there; what is there is
not made again, so a run that was cut off goes on where it was. The data is looked for in $ROBUST_TICKETS_DATA, and in
shared/data beside the checkout.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from datasets import disable_progress_bars  # noqa: E402

from benchmarks.search_arms import ARMS, TRIED, SearchProtocol, train_arm  # noqa: E402
from benchmarks.search_report import write_report  # noqa: E402
from benchmarks.sentences import attack_missing, evidence_parser, load_splits, parse_evidence, train_once  # noqa: E402

RESULTS = ROOT / "docs" / "evidence" / "search"


def main() -> None:
    options = parse_evidence(evidence_parser(__doc__, (*ARMS, *TRIED), SearchProtocol), "search")
    protocol = SearchProtocol.of(options)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    disable_progress_bars()
    for attacking in (False, True) if options.attack else (False,):
        for seed in options.seeds or (0, 1, 2):
            for arm in options.arms or ARMS:
                result = train_once(train_arm, arm, seed, protocol, options)
                if attacking:
                    test, size = load_splits(protocol)["test"], protocol.examples(arm)
                    attack_missing(result, "attacks", protocol.recipes, test, options, num_examples=size)
    if RESULTS in (options.results, options.results.parent):
        write_report(RESULTS, ROOT / "docs")


if __name__ == "__main__":
    main()
