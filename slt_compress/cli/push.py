"""`slt-compress push`: a ticket and its model card to the Hugging Face hub."""

from typing import Annotated

import typer

from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, local_file
from slt_compress.cli.streams import shell
from slt_compress.errors import UsageError

EXAMPLES = (
    "Examples:\n\nslt-compress push ticket.safetensors me/lenet --license apache-2.0\n\n"
    "slt-compress push ticket.safetensors me/lenet --dry-run"
)


def push(
    file: shared.TicketFile,
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="OWNER/NAME; it is made if there is none.", show_default=False)
    ],
    license: Annotated[  # noqa: A002, the name of the option
        str | None,
        typer.Option(
            metavar="NAME", help="For the model card, as the hub lists it: mit, apache-2.0, … \\[default: unknown]"
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository that only you can see.")] = False,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of the commit. \\[default: Push a ticket of slt-compress]")
    ] = None,
    branch: Annotated[
        str | None, typer.Option(metavar="NAME", help="Commit to this branch; it is made if there is none.")
    ] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    card: Annotated[
        bool, typer.Option("--card/--no-card", help="Write the model card, README.md, too; it replaces another one.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the model card, and push nothing.")] = False,
    json: shared.Json = False,
) -> None:
    """Push a ticket with its model card to the Hugging Face hub. Needs a token: hf auth login, or HF_TOKEN."""
    with exit_codes(lambda: "interrupted; the repository may have been made, and the commit too"):
        from slt_compress.cli.console import Printer, size
        from slt_compress.hub import upload
        from slt_compress.hub.address import CARD_NAME, TICKET_NAME, Address, check_repository
        from slt_compress.ticket.card import card as card_of
        from slt_compress.ticket.ticket import Ticket

        name = check_repository(repository.removeprefix("hf://"))
        if not card and license:
            raise UsageError("`license` has no meaning without a model card")
        ticket = Ticket.load(local_file(file))
        text = card_of(ticket, name, license)
        printer = Printer(json=json)
        files = {TICKET_NAME: ticket.to_bytes()} | ({CARD_NAME: text.encode()} if card else {})
        address = str(Address(name, None, branch))
        document = {
            "repository": address,
            "files": {path: len(content) for path, content in files.items()},
            "private": private,
            "message": message or upload.MESSAGE,
            "create_pr": create_pr,
            "dry_run": dry_run,
            "card": text if card else None,
            "url": None,
            "commit": None,
        }
        if dry_run:
            printer.document(document, text if card else "")
            return
        pushed = upload.push(
            name,
            files,
            message=message or upload.MESSAGE,
            private=private or None,
            branch=branch,
            create_pr=create_pr,
        )
        printer.result(
            document | {"url": pushed.url, "commit": pushed.commit},
            [
                ("files", ", ".join(f"{path} ({size(len(content))})" for path, content in files.items())),
                ("url", pushed.url),
            ],
            advice="" if create_pr else f"next, anywhere: {shell('slt-compress', 'evaluate', address)}",
        )
