"""E-mail as a block of Prefect's: its server sends the notifications of automations by SMTP.

Prefect finds the class by the entry point ``prefect.collections``, in the server's process too, which is why nothing
but Prefect and the standard library is imported here. The address with its password is a secret of the block.
"""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.utilities.asyncutils import run_sync_in_worker_thread
from pydantic import Field, SecretStr

SECONDS = 30
PORTS = {"smtp": 25, "starttls": 587, "smtps": 465}


class NocturneMail(NotificationBlock):
    """Sends notifications by e-mail."""

    _block_type_name = "Nocturne E-mail"
    _block_type_slug = "nocturne-mail"

    server: SecretStr = Field(
        default=..., description="smtps://user:password@host:465 (TLS), starttls://… or smtp://… (neither)."
    )
    to: tuple[str, ...] = Field(default=..., description="Who gets the mail.")
    sender: str = Field(default="", description="From: address; empty means the first receiver's.")

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Send one message; raises NotificationError with what the mail server said."""
        try:
            await run_sync_in_worker_thread(self.send, subject or "Nocturne", body)
        except (OSError, smtplib.SMTPException) as error:
            raise NotificationError(f"the mail was not taken: {type(error).__name__}") from None

    def send(self, subject: str, body: str) -> None:
        """Send one message. Raises OSError or SMTPException."""
        message = EmailMessage()
        message["Subject"] = " ".join(subject.split())  # a line break would end the header
        message["From"], message["To"] = self.sender or self.to[0], ", ".join(self.to)
        message.set_content(body)
        where = urlsplit(self.server.get_secret_value())
        port = where.port or PORTS[where.scheme]
        opened = smtplib.SMTP_SSL if where.scheme == "smtps" else smtplib.SMTP
        with opened(where.hostname or "", port, timeout=SECONDS) as server:
            if where.scheme == "starttls":
                server.starttls()
            if where.username:
                server.login(unquote(where.username), unquote(where.password or ""))
            server.send_message(message)
