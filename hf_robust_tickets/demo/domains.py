"""What the synthetic reviews speak about: eight domains, each with its things, parts, adjectives and small talk."""

from __future__ import annotations

from dataclasses import dataclass

from .lexicon import words_of


@dataclass(frozen=True)
class Domain:
    """One field of life that is reviewed.

    Attributes:
        name: Its name.
        things: Nouns for the whole ("film").
        rivals: Other things, with their article, that it may be compared with.
        parts: Singular nouns for what is judged ("acting").
        plural_parts: The same in the plural ("dialogues").
        positive: Adjectives that praise in this domain.
        negative: Adjectives that blame in this domain.
        fillers: Neutral sentences of this domain.
    """

    name: str
    things: tuple[str, ...]
    rivals: tuple[str, ...]
    parts: tuple[str, ...]
    plural_parts: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    fillers: tuple[str, ...]


FILMS = Domain(
    name="films",
    things=("film", "movie", "picture", "thriller", "comedy", "sequel"),
    rivals=("the first part", "the director's last film", "the television version", "the trailer"),
    parts=("acting", "plot", "camera work", "soundtrack", "ending", "screenplay", "editing", "pacing", "cast"),
    plural_parts=("dialogues", "costumes", "jokes", "action scenes", "performances"),
    positive=words_of("gripping moving hilarious riveting touching suspenseful witty heartfelt enthralling poignant"),
    negative=words_of("wooden predictable overlong unfunny contrived hackneyed hammy soporific clichéd sluggish"),
    fillers=(
        "It runs for two hours.",
        "We saw it at the early showing.",
        "The story is set in Lisbon.",
        "It is in Danish with subtitles.",
        "The director also wrote the script.",
    ),
)
BOOKS = Domain(
    name="books",
    things=("novel", "book", "memoir", "story", "collection", "biography"),
    rivals=("her first novel", "the film of the book", "the second volume", "the audio version"),
    parts=("prose", "plot", "narrator", "opening chapter", "translation", "world building", "language", "structure"),
    plural_parts=("characters", "descriptions", "dialogues", "final chapters", "illustrations"),
    positive=words_of("lyrical absorbing page-turning vivid insightful luminous eloquent compelling tender quotable"),
    negative=words_of("turgid long-winded muddled pretentious stilted rambling preachy unreadable leaden verbose"),
    fillers=(
        "It has three hundred pages.",
        "I read it on two train rides.",
        "The book is told in letters.",
        "My reading circle chose it for May.",
        "It came out in paperback in spring.",
    ),
)
RESTAURANTS = Domain(
    name="restaurants",
    things=("restaurant", "bistro", "place", "diner", "lunch", "trattoria"),
    rivals=("the place next door", "our old local", "the chain on the corner", "the hotel dining room"),
    parts=("service", "soup", "fish", "wine list", "dessert", "pasta", "atmosphere", "bread", "kitchen"),
    plural_parts=("starters", "side dishes", "waiters", "portions", "vegetables"),
    positive=words_of(
        "delicious tasty mouth-watering flavourful scrumptious appetising succulent fresh attentive cosy"
    ),
    negative=words_of("soggy greasy inedible stale tasteless burnt unhygienic overpriced rancid surly"),
    fillers=(
        "We had booked a table for six.",
        "It is two streets from the station.",
        "The menu changes every month.",
        "We ordered three courses.",
        "They take cards and cash.",
    ),
)
HOTELS = Domain(
    name="hotels",
    things=("hotel", "guest house", "stay", "resort", "hostel", "inn"),
    rivals=("the hotel across the square", "our previous hotel", "the holiday flat", "the campsite"),
    parts=("room", "breakfast", "reception", "bathroom", "view", "location", "bed", "pool", "spa"),
    plural_parts=("towels", "staff members", "common rooms", "lifts", "pillows"),
    positive=words_of(
        "comfortable spotless luxurious restful hospitable welcoming idyllic homely immaculate spacious"
    ),
    negative=words_of("filthy noisy cramped dingy smelly mouldy run-down draughty grubby inhospitable"),
    fillers=(
        "We stayed for three nights.",
        "Our room was on the fifth floor.",
        "It lies between the harbour and the park.",
        "Check-in starts at two.",
        "We were there for a wedding.",
    ),
)
GADGETS = Domain(
    name="gadgets",
    things=("phone", "laptop", "camera", "tablet", "speaker", "watch"),
    rivals=("last year's model", "my old one", "the rival from Korea", "the cheaper version"),
    parts=("battery", "screen", "keyboard", "software", "sound", "build quality", "packaging", "design", "setup"),
    plural_parts=("buttons", "speakers", "menus", "updates", "controls"),
    positive=words_of("reliable sturdy responsive intuitive fast durable user-friendly sleek dependable crisp"),
    negative=words_of("buggy unreliable laggy fragile defective unresponsive bloated glitchy cumbersome crash-prone"),
    fillers=(
        "It arrived on a Thursday.",
        "I use it for work and for travel.",
        "Mine is the grey one.",
        "It charges through the usual port.",
        "I have owned it for six weeks.",
    ),
)
CONCERTS = Domain(
    name="concerts",
    things=("concert", "show", "gig", "recital", "festival", "opera"),
    rivals=("the show in March", "the studio album", "the other festival", "the support act"),
    parts=("sound", "singing", "playing", "set list", "light show", "choir", "orchestra", "venue", "encore"),
    plural_parts=("solos", "new songs", "musicians", "arrangements", "seats"),
    positive=words_of(
        "electrifying rousing soulful melodic spirited hypnotic virtuosic stirring uplifting exhilarating"
    ),
    negative=words_of("tuneless deafening tinny muffled off-key plodding shrill ragged monotonous spiritless"),
    fillers=(
        "Doors opened at seven.",
        "We stood near the back.",
        "They played for ninety minutes.",
        "It took place in the old brewery.",
        "The band comes from Leeds.",
    ),
)
COURSES = Domain(
    name="courses",
    things=("course", "workshop", "class", "seminar", "lecture", "tutorial"),
    rivals=("the evening class", "the online version", "last term's course", "the textbook"),
    parts=("teaching", "material", "pace", "instructor", "homework", "feedback", "reading list", "final project"),
    plural_parts=("exercises", "slides", "examples", "handouts", "group sessions"),
    positive=words_of("instructive enlightening illuminating well-organised stimulating helpful lucid motivating"),
    negative=words_of("disorganised confusing outdated incoherent useless condescending superficial mind-numbing"),
    fillers=(
        "It met twice a week.",
        "There were eleven of us in the room.",
        "The course ends with a test.",
        "I signed up in January.",
        "My employer covered the fee.",
    ),
)
TRIPS = Domain(
    name="trips",
    things=("tour", "trip", "museum", "exhibition", "cruise", "excursion"),
    rivals=("the boat ride", "the museum next door", "the tour of the castle", "the guided walk"),
    parts=("guide", "route", "organisation", "audio guide", "scenery", "bus", "gift shop", "café", "layout"),
    plural_parts=("exhibits", "labels", "stops", "views", "guides"),
    positive=words_of("fascinating picturesque scenic informative magical serene well-curated enriching"),
    negative=words_of("overcrowded chaotic rushed tacky gloomy soulless shambolic dilapidated"),
    fillers=(
        "We started at the town hall.",
        "It takes half a day.",
        "Tickets are sold at the gate.",
        "There is a stop every mile.",
        "We went in the second week of June.",
    ),
)

DOMAINS = (FILMS, BOOKS, RESTAURANTS, HOTELS, GADGETS, CONCERTS, COURSES, TRIPS)
