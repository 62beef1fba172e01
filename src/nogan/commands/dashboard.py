"""`nogan dashboard ENTITY/PROJECT`: make the W&B workspace to compare runs in."""

import json
from collections.abc import Sequence

from nogan.commands import parser_of
from nogan.common.errors import UserError


def main(argv: Sequence[str]) -> None:
    """Print the address of the workspace, or with ``--dry-run`` its definition."""
    parser = parser_of("dashboard")
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="the W&B project")
    parser.add_argument("--dry-run", action="store_true", help="print the definition and stop")
    args = parser.parse_args(argv)
    entity, slash, project = args.project.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise UserError(f"{args.project}: expected ENTITY/PROJECT, such as my-team/nogan")
    from nogan.report.dashboard import build_workspace, definition, save

    workspace = build_workspace(entity, project)
    print(json.dumps(definition(workspace), indent=1) if args.dry_run else save(workspace))
