"""The part of a conversation that is sent to the model: reading it, and choosing what fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from django.conf import settings

from ai.gemini import Content, Prompt, PromptPicture
from conversations import transcript_repository as transcripts
from conversations.attachments.queries import prompt_pictures
from conversations.documents import ConversationDocument, MessageDocument, ReplyDocument, UserMessageDraft, reply_seq
from edgechat.errors import TooLarge
from edgechat.graphemes import cut
from usage.ledger.tokens import estimate_tokens, prompt_budget


@dataclass(frozen=True)
class AnsweredExchange:
    """The texts and pictures of a user's message and the model's answer to it; `seq` is the answer's."""

    question: str
    answer: str
    seq: int
    pictures: tuple[PromptPicture, ...] = ()

    @property
    def tokens(self) -> int:
        """The tokens of the texts, without the pictures."""
        return estimate_tokens(self.question) + estimate_tokens(self.answer)


@dataclass(frozen=True)
class Window:
    """What is sent, oldest first; `overflowed` is true if earlier exchanges did not fit."""

    contents: tuple[Content, ...]
    overflowed: bool


def reply_prompt(conversation: ConversationDocument, reply: ReplyDocument) -> tuple[Prompt, bool]:
    """The prompt of a claimed conversation's reply, and whether the conversation no longer fits in the context window.

    Raises MongoUnavailable.
    """
    summary = conversation["summary"]
    instruction = _instruction(conversation)
    window = select_contents(
        _question(reply["user_message"]),
        newest_first(
            conversation["owner_id"],
            conversation["_id"],
            before_seq=reply_seq(reply) - 1,
            after_seq=summary["upto_seq"] if summary else 0,
        ),
        instruction=instruction,
        budget=window_tokens(),
    )
    return Prompt(contents=window.contents, system_instruction=instruction), window.overflowed


def refuse_too_long(conversation: ConversationDocument, draft: UserMessageDraft) -> None:
    """Raise TooLarge for a message that alone exceeds the context window."""
    budget = window_tokens()
    if not fits(_question(draft), instruction=_instruction(conversation), budget=budget):
        raise TooLarge(f"The message is longer than the {budget} tokens that one message may have")


def window_tokens() -> int:
    """The tokens that a prompt may have."""
    return prompt_budget(max_tokens=settings.CONTEXT_MAX_TOKENS, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS)


def newest_first(
    owner_id: int, conversation_id: str, *, before_seq: int, after_seq: int = 0
) -> Iterator[AnsweredExchange]:
    """Answered exchanges between two excluded sequence numbers, newest first; `before_seq` is a user message's."""
    answer: MessageDocument | None = None
    for message in transcripts.read_messages(owner_id, conversation_id, range(before_seq - 1, after_seq, -1)):
        if answer is not None:
            yield from _answered(message, answer)
        answer = message


def oldest_first(owner_id: int, conversation_id: str, *, after_seq: int, before_seq: int) -> Iterator[AnsweredExchange]:
    """Answered exchanges between two excluded sequence numbers, oldest first."""
    question: MessageDocument | None = None
    for message in transcripts.read_messages(owner_id, conversation_id, range(after_seq + 1, before_seq)):
        if question is not None:
            yield from _answered(question, message)
        question = message


def _answered(question: MessageDocument, answer: MessageDocument) -> Iterator[AnsweredExchange]:
    """Two messages as an exchange, if the model answered.

    Failed and blocked exchanges are left out, because the roles of a prompt must alternate.
    """
    if (
        answer["role"] == "model"
        and answer["seq"] == question["seq"] + 1
        and answer["content"]
        and answer["status"] in ("complete", "stopped", "interrupted")
    ):
        pictures = prompt_pictures(question["attachments"])
        yield AnsweredExchange(question["content"], answer["content"], answer["seq"], pictures)


def _question(draft: UserMessageDraft) -> Content:
    return Content("user", draft["content"], prompt_pictures(draft["attachments"]))


def _instruction(conversation: ConversationDocument) -> str | None:
    summary = conversation["summary"]
    return instruction_with_summary(conversation["system_instruction"], summary["text"] if summary else None)


def instruction_with_summary(system_instruction: str | None, summary: str | None) -> str | None:
    """The system instruction, followed by the summary of the messages before the sent ones."""
    if summary is None:
        return system_instruction
    text = f"Summary of the conversation before the messages below:\n{summary}"
    return f"{system_instruction}\n\n{text}" if system_instruction else text


def fits(question: Content, *, instruction: str | None, budget: int) -> bool:
    """Whether a message, its pictures and the instruction fit into `budget` tokens."""
    return _tokens_left(question, instruction=instruction, budget=budget) >= 0


def select_contents(
    question: Content, earlier: Iterable[AnsweredExchange], *, instruction: str | None, budget: int
) -> Window:
    """The latest whole exchanges that fit into `budget` tokens with the question, then the question.

    `earlier` is newest first and is only read as far as exchanges fit, so the cost does not grow with the history.
    Earlier pictures get a quarter of the tokens that the question leaves. From the first exchange whose pictures do not
    fit, all older pictures are left out; their texts stay.
    """
    left = _tokens_left(question, instruction=instruction, budget=budget)
    left_for_pictures = left // 4
    contents: list[Content] = [question]
    overflowed = False
    for exchange in earlier:
        left -= exchange.tokens
        if left < 0:
            overflowed = True
            break
        tokens = sum(picture.tokens for picture in exchange.pictures)
        shown = exchange.pictures if tokens <= min(left, left_for_pictures) else ()
        if shown:
            left -= tokens
            left_for_pictures -= tokens
        elif exchange.pictures:
            left_for_pictures = 0
        contents += [Content("model", exchange.answer), Content("user", exchange.question, shown)]
    return Window(tuple(reversed(contents)), overflowed)


def _tokens_left(question: Content, *, instruction: str | None, budget: int) -> int:
    pictures = sum(picture.tokens for picture in question.pictures)
    return budget - estimate_tokens(question.text) - pictures - estimate_tokens(instruction or "")


def first_kept(earlier: Iterable[AnsweredExchange], *, budget: int, alone: int) -> int | None:
    """The lowest `seq` of the latest exchanges that fit into `budget` tokens.

    The latest exchange may have up to `alone` tokens. None if it has more, or if there are no exchanges.
    """
    lowest: int | None = None
    for exchange in earlier:
        if exchange.tokens > (alone if lowest is None else budget):
            break
        budget -= exchange.tokens
        lowest = exchange.seq
    return lowest


def is_as_long_as(earlier: Iterable[AnsweredExchange], *, tokens: int) -> bool:
    """Whether these exchanges have at least `tokens` together; only as many as necessary are read."""
    return any(total >= tokens for total in accumulate(exchange.tokens for exchange in earlier))


def beginning(text: str, *, tokens: int) -> str:
    """The beginning of a text for which `estimate_tokens` counts at most `tokens`."""
    return cut(text, len(text.encode()[: 3 * max(0, tokens)].decode(errors="ignore")))


def numbered_dialogue(
    earlier: Iterable[AnsweredExchange], *, summary: tuple[str, int] | None, budget: int
) -> tuple[str, list[int]]:
    """The latest exchanges as text of at most `budget` tokens, each message after its `seq`; and the `seq`s, ascending.

    `earlier` is newest first and is only read as far as exchanges fit. The summary of older messages, with the `seq` of
    its last message, comes first. If the newest exchange does not fit, its beginning is taken.
    """
    beginnings = [f"[{summary[1]}] Summary of all until here: {summary[0]}"] if summary else []
    seqs = [summary[1]] if summary else []
    left = budget - sum(map(estimate_tokens, beginnings))
    parts: list[str] = []
    for exchange in earlier:
        text = (
            f"\n[{exchange.seq - 1}] {_user(exchange)}: {exchange.question}\n[{exchange.seq}] Model: {exchange.answer}"
        )
        if estimate_tokens(text) > left:
            if parts:
                break
            text = beginning(text, tokens=left)
        left -= estimate_tokens(text)
        parts.append(text)
        seqs += [exchange.seq - 1, exchange.seq]
    return "".join(beginnings + parts[::-1]).strip(), sorted(seqs)


def dialogue(exchanges: Iterable[AnsweredExchange], *, budget: int, least: int) -> tuple[str, int | None]:
    """Exchanges, oldest first, as text of at most `budget` tokens, and the `seq` of the last exchange in it.

    An empty text and None if all exchanges have fewer tokens than `least`, which must be less than the budget. The last
    exchange is cut, not left out, if the exchanges before it have fewer tokens than `least`, so that each text covers
    at least `least` tokens.
    """
    parts: list[str] = []
    last: int | None = None
    left, covered = budget, 0
    for each in exchanges:
        text = f"{_user(each)}: {each.question}\nModel: {each.answer}"
        tokens = estimate_tokens(text) + 1  # plus the separator
        if tokens > left:
            if covered >= least:
                break
            text = beginning(text, tokens=left)
        parts.append(text)
        last = each.seq
        covered += each.tokens
        left -= tokens
        if left <= 0:
            break
    else:
        if covered < least:
            return "", None
    return "\n\n".join(parts), last


def _user(exchange: AnsweredExchange) -> str:
    return f"User [with {len(exchange.pictures)} pictures]" if exchange.pictures else "User"
