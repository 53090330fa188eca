"""OpenAI's routes for text and pictures. The same paths serve VisionCraft's and Krutrim's text clients."""

from quintet.core.errors import QuintetError
from quintet.dialects.base import Operation, Reply
from quintet.dialects.errors import error_reply
from quintet.dialects.openai.embeddings import EmbeddingBody, parse_embedding
from quintet.dialects.openai.images import parse_edit, parse_generation, refuse_pictures
from quintet.dialects.openai.images_wire import EditBody, GenerationBody
from quintet.dialects.openai.models import model_reply, models_reply
from quintet.dialects.openai.parse import parse_chat, parse_completion
from quintet.dialects.openai.wire import ChatBody, CompletionBody

__all__ = ["OPERATIONS", "model_reply", "models_reply", "refuse"]

MAX_CHAT_BYTES = 32 * 1024 * 1024
"""Conversations may hold pictures."""
MAX_EMBEDDING_BYTES = 8 * 1024 * 1024
"""As much text as one request may have, in any alphabet."""
MAX_EDIT_BYTES = 32 * 1024 * 1024
"""A picture, and a mask."""


def refuse(error: QuintetError) -> Reply:
    """An error in OpenAI's words."""
    return error_reply(error, "openai")


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        path="/v1/chat/completions",
        parse=parse_chat,
        refuse=refuse,
        schema=ChatBody,
        summary="Answer a conversation (OpenAI, VisionCraft and Krutrim clients)",
        max_body_bytes=MAX_CHAT_BYTES,
        token_in_body=True,
    ),
    Operation(
        path="/v1/completions",
        parse=parse_completion,
        refuse=refuse,
        schema=CompletionBody,
        summary="Continue a prompt (OpenAI clients)",
    ),
    Operation(
        path="/v1/embeddings",
        parse=parse_embedding,
        refuse=refuse,
        schema=EmbeddingBody,
        summary="Turn texts into vectors (OpenAI clients)",
        max_body_bytes=MAX_EMBEDDING_BYTES,
    ),
    Operation(
        path="/v1/images/generations",
        parse=parse_generation,
        refuse=refuse_pictures,
        schema=GenerationBody,
        summary="Draw pictures (OpenAI clients)",
    ),
    Operation(
        path="/v1/images/edits",
        parse=parse_edit,
        refuse=refuse_pictures,
        schema=EditBody,
        summary="Change a picture, or the part of it that a mask lays open (OpenAI clients)",
        max_body_bytes=MAX_EDIT_BYTES,
        accepts_form=True,
    ),
)
