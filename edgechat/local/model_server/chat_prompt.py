"""Converts Gemini's contents to the tokens that SmolLM2 reads. Pure: the caller tokenizes."""

from collections.abc import Sequence

from edgechat.local.model_server.gemini_protocol import Turn

# SmolLM2's ids of <|im_start|> and <|im_end|>. Texts are tokenized without special tokens, so no text can produce
# these.
TURN_START, TURN_END = 1, 2
ROLE_NAMES = {"user": "user", "model": "assistant"}
SYSTEM_SHARE = 3

MixedText = list[int | str]


def compose_prompt(system: str, turns: Sequence[Turn]) -> MixedText:
    """A conversation in ChatML as special tokens and texts, which ends with the open turn of the assistant."""
    prompt: MixedText = [TURN_START, f"system\n{system}", TURN_END, "\n"]
    for turn in turns:
        prompt += [TURN_START, f"{ROLE_NAMES[turn.role]}\n{turn.text}", TURN_END, "\n"]
    return [*prompt, TURN_START, "assistant\n"]


def split_turns(tokens: Sequence[int]) -> list[list[int]]:
    """The tokens of each turn, including its start."""
    turns: list[list[int]] = []
    for token in tokens:
        if token == TURN_START:
            turns.append([])
        turns[-1].append(token)
    return turns


def fit_prompt(tokens: Sequence[int], limit: int) -> list[int]:
    """At most `limit` tokens of a composed prompt, cut so that it still reads as a conversation.

    The result keeps the system instruction (a third of the room at most), the last turn, and as many whole turns before
    it as fit. A turn that is too long on its own keeps its head and its tail.
    """
    if len(tokens) <= limit:
        return list(tokens)
    system, *middle, last, answer = split_turns(tokens)
    system = shorten_turn(system, limit // SYSTEM_SHARE)
    last = shorten_turn(last, limit - len(system) - len(answer))
    room = limit - len(system) - len(last) - len(answer)
    kept: list[list[int]] = []
    for turn in reversed(middle):
        room -= len(turn)
        if room < 0:
            break
        kept.insert(0, turn)
    return [token for turn in (system, *kept, last, answer) for token in turn]


def shorten_turn(turn: list[int], limit: int) -> list[int]:
    """The turn's head and tail, including its role at the start and its end mark."""
    if len(turn) <= limit:
        return turn
    head = (limit + 1) // 2
    return turn[:head] + turn[len(turn) - (limit - head) :]
