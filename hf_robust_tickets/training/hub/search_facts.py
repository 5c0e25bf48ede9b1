"""What a model card says of the search of a ticket."""

from __future__ import annotations

from dataclasses import replace

from ...reporting.model_card import CardFacts
from ..arguments import AdversaryOptions
from ..jobs.search import describe_origin, describe_search, search_method
from ..jobs.ticket_folder import SearchResult
from ..ticket_arguments import TicketOptions
from .card import adversary_facts


def facts_of_search(
    facts: CardFacts, found: SearchResult, options: TicketOptions, attack: AdversaryOptions
) -> CardFacts:
    """What a card says of a fine-tuned ticket, with the search that it is from.

    Args:
        facts: Of the fine-tuning.
        found: The result of the search.
        options: Those of the job.
        attack: Those of the search's adversary.
    """
    attacked = search_method(options.ticket_score).uses_adversary(options) and attack.build_adversary()
    searched = {"search": adversary_facts(attacked or None, attack)} if found.log else {}
    return replace(
        facts,
        adversaries={**searched, "finetune": facts.adversaries.get("train")},
        search=describe_search(found.log, options),
        ticket={**facts.ticket, "origin": describe_origin(found.converged, found.asked)},
    )
