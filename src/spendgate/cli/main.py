"""The command `spendgate`: one module a command, imported only when it is called.

Exit codes: 0 done, 1 failure, 2 wrong usage. An error is one line on stderr that says what to do.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from spendgate import __version__
from spendgate.errors import SpendgateError

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("spendgate.cli.up", "A whole local gateway: Envoy, spendgate, an embedded Redis."),
    "serve": ("spendgate.cli.serve", "The production gateway: gRPC ext_proc workers."),
    "controller": ("spendgate.cli.controller", "Budgets as Kubernetes resources: policy, status, alerts."),
    "webhook": ("spendgate.cli.webhook", "Budgets checked by the API server before they are stored."),
    "spend": ("spendgate.cli.spend", "What teams spent, from the ledger."),
    "budget": ("spendgate.cli.budget", "What you have left, asked of the gateway."),
    "budgets": ("spendgate.cli.budgets", "How every budget stands: spent, held, forecast, phase."),
    "holds": ("spendgate.cli.holds", "What requests in flight hold."),
    "ledger": ("spendgate.cli.ledger", "Correct the ledger, and read what was corrected."),
    "month": ("spendgate.cli.month", "Close a month, and see how months stand."),
    "report": ("spendgate.cli.report", "A month's books: chargeback by team, app, model, kind."),
    "export": ("spendgate.cli.export", "Months of books into an object store or folder."),
    "reconcile": ("spendgate.cli.reconcile", "The ledger beside Prometheus, usage logs and invoices."),
    "backfill": ("spendgate.cli.backfill", "Price past days again and make up for it."),
    "log": ("spendgate.cli.log", "Look at the usage log: its last exchanges, and those to come."),
    "explain": ("spendgate.cli.explain", "Dry run of one request: tokens, estimate, candidates, decision."),
    "simulate": ("spendgate.cli.simulate", "What a policy would have done to logged traffic."),
    "propose": ("spendgate.cli.propose", "A budget change as a branch and pull request."),
    "import": ("spendgate.cli.importing", "Budgets of LiteLLM and Portkey as LLMBudgets."),
    "prices": ("spendgate.cli.prices", "What models cost: list, show, diff, check, import."),
    "validate": ("spendgate.cli.validate", "Check policies, prices and config before they are used."),
    "doctor": ("spendgate.cli.doctor", "Proves that budgets hold; finds what keeps them from it."),
    "keys": ("spendgate.cli.keys", "API keys of teams: issue, list, rotate, revoke."),
    "render": (
        "spendgate.cli.render",
        "Print configuration: Envoy, mesh, CRD, Prometheus rules, dashboards.",
    ),
    "mock-provider": ("spendgate.cli.mock_provider", "An upstream that speaks the dialects, for tests."),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is called, so that `--help` stays instant.

    Each module offers `command`, a click command.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = import_module(entry[0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spendgate")
def spendgate() -> None:
    """Budgets for LLM spend, enforced inside the mesh.

    \b
    Example: spendgate up --policy budgets.yaml --upstream https://api.openai.com
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line; an expected error is one line on stderr, never a traceback."""
    try:
        spendgate.main(args=argv, prog_name="spendgate", standalone_mode=False)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.UsageError as e:
        command = e.ctx.command_path if e.ctx else "spendgate"
        print(f"{command}: {e.format_message()} (see {command} --help)", file=sys.stderr)
        sys.exit(2)
    except click.ClickException as e:
        print(f"spendgate: {e.format_message()}", file=sys.stderr)
        sys.exit(1)
    except SpendgateError as e:
        print(f"spendgate: {e}", file=sys.stderr)
        sys.exit(1)
