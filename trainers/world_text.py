"""The built-in world's language and its true reward: a small grammar of short English about a few topics.

`all_prompts()` -> "Describe the river at noon:" and others; `write_answer` of it -> " The river is calm. I love it.";
`gold_reward` of the two -> 4.0 (calm 1, love 2, on the topic 1).
It is the known-reward experiment of the DPO paper (arXiv:2305.18290, section 6.1) in the small.
"""

import re
from random import Random

TOPICS = ("sea", "garden", "road", "city", "house", "market", "river", "bridge", "winter", "letter", "kitchen", "train")
OPENINGS = ("Tell me about", "Write about", "Describe", "What of", "Speak of", "Recall")
KINDS = ("", "old ", "new ", "small ", "great ", "far ")
MOMENTS = ("", " at noon", " at dawn", " at night", " in May", " in June", " today", " again", " now", " here")

# Sentiment of each word, in units of reward. Every other word of the grammar is worth nothing.
LEXICON = {
    "wonderful": 2.0, "lovely": 2.0, "joyful": 2.0, "love": 2.0,
    "calm": 1.0, "bright": 1.0, "warm": 1.0, "kind": 1.0, "like": 1.0, "enjoy": 1.0,
    "cold": -1.0, "dull": -1.0, "grim": -1.0, "sad": -1.0, "fear": -1.0, "avoid": -1.0,
    "terrible": -2.0, "awful": -2.0, "ugly": -2.0, "hate": -2.0,
}  # fmt: skip
PLAIN = ("quiet", "long", "wide", "grey")
PLAIN_VERBS = ("know", "see")
VERBS = {"love", "like", "enjoy", "fear", "avoid", "hate"}
FUNCTION_WORDS = {"the", "it", "is", "was", "and", "i", "very", "so"}

TOPIC_BONUS = 1.0
OTHER_TOPIC = -1.0
REPEATED = -1.0
UNKNOWN = -1.0
UNFINISHED = -1.0
# Bytes of an answer that cost nothing, and the price of each beyond.
FREE_LENGTH = 80
LENGTH_PRICE = 0.1
BOUND = 8.0

_KNOWN = FUNCTION_WORDS | set(LEXICON) | set(PLAIN) | set(PLAIN_VERBS) | set(TOPICS)
_MAY_REPEAT = FUNCTION_WORDS | set(TOPICS)


def gold_reward(prompt: str, answer: str) -> float:
    """What an answer is truly worth, in [-8, 8]; labels are drawn from it, and no trained policy ever sees it.

    The sum, over the answer's words, of their sentiment (`LEXICON`), each word once: saying it again costs 1. A word
    outside the language costs 1, and so does naming a topic that the prompt did not ask for; naming the asked one
    earns 1, once. An answer that does not end in a full stop costs 1, and each byte beyond 80 costs 0.1.
    So more and warmer words pay, up to a point: a policy that pushes warm words further is worse off.
    """
    words = re.findall(r"[^\W\d_]+|[^\s.,]", answer.lower())
    seen: set[str] = set()
    total = 0.0
    for word in words:
        total += _worth(word, prompt, seen)
        seen.add(word)
    total += 0.0 if answer.rstrip().endswith(".") else UNFINISHED
    total -= LENGTH_PRICE * max(0, len(answer.encode("utf-8", "replace")) - FREE_LENGTH)
    return max(-BOUND, min(BOUND, total))


def _worth(word: str, prompt: str, seen: set[str]) -> float:
    if word not in _KNOWN:
        return UNKNOWN
    if word in seen:
        return 0.0 if word in _MAY_REPEAT else REPEATED
    if word in TOPICS:
        return TOPIC_BONUS if re.search(rf"\b{word}\b", prompt) else OTHER_TOPIC
    return LEXICON.get(word, 0.0)


def all_prompts() -> list[str]:
    """Every prompt of the language, each once: 4320 of them."""
    return [
        f"{opening} the {kind}{topic}{moment}:"
        for opening in OPENINGS
        for kind in KINDS
        for topic in TOPICS
        for moment in MOMENTS
    ]


def write_answer(random: Random, prompt: str) -> str:
    """One or two sentences on the prompt's topic, in a mood: this is what the starting policy learns to imitate."""
    topic = next(topic for topic in TOPICS if re.search(rf"\b{topic}\b", prompt))
    mood = random.choice((1, 1, 0, -1, -1))
    sentences = [_sentence(random, topic, mood) for _ in range(random.choice((1, 2, 2, 2)))]
    return " " + " ".join(sentences)


def _sentence(random: Random, topic: str, mood: int) -> str:
    subject = random.choice((f"The {topic}", "It"))
    shape = random.randrange(4)
    if shape == 0:
        return f"I {_verb(random, mood)} {random.choice((f'the {topic}', 'it'))}."
    first = _adjective(random, mood)
    if shape == 1:
        return f"{subject} is {first} and {_adjective(random, mood)}."
    return f"{subject} {random.choice(('is', 'was'))} {random.choice(('', '', 'very '))}{first}."


def _adjective(random: Random, mood: int) -> str:
    return random.choice(_of_mood([word for word in LEXICON if word not in VERBS], random, mood) or list(PLAIN))


def _verb(random: Random, mood: int) -> str:
    return random.choice(_of_mood([word for word in LEXICON if word in VERBS], random, mood) or list(PLAIN_VERBS))


def _of_mood(words: list[str], random: Random, mood: int) -> list[str]:
    # One word in four is of another mood, so that answers mix.
    mood = mood if random.random() < 0.75 else random.choice((1, 0, -1))
    return [word for word in words if LEXICON[word] * mood > 0]
