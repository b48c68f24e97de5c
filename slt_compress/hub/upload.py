"""Files to a repository of the hub, which is made if there is none. All of them arrive in one commit, or none."""

from collections.abc import Mapping
from dataclasses import dataclass

from slt_compress.errors import HubError, UsageError
from slt_compress.hub.address import Address, check_repository
from slt_compress.hub.client import library, quiet, told
from slt_compress.version import __version__

MESSAGE = "Push a ticket of slt-compress"


@dataclass(frozen=True)
class Pushed:
    """What a push has made.

    Attributes:
        url: of the commit, or of the pull request.
        commit: its id.
    """

    url: str
    commit: str


def push(
    repository: str,
    files: Mapping[str, bytes],
    *,
    message: str = MESSAGE,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    create_pr: bool = False,
) -> Pushed:
    """Write files, by their names in there, to a repository.

    Args:
        repository: OWNER/NAME.
        files: their bytes.
        message: of the commit.
        private: whether a new repository is; None for what is usual for its owner.
        token: as in `fetch`, with the right to write.
        branch: to commit to, the main one if none is given; it is made if there is none.
        create_pr: opens a pull request instead.

    Raises MissingPackageError without the library, UsageError for names that cannot be, and HubError if there is no
    right to write, or the hub does not take the files, or should keep them private in a repository that is public.
    """
    address = Address(check_repository(repository), None, branch)
    if branch and create_pr:
        raise UsageError("`branch` has no meaning with `create_pr`, which opens a pull request for the main branch")
    hub = library()
    api = hub.HfApi(token=token, library_name="slt-compress", library_version=__version__)
    with quiet(), told(address, token, writing=True):
        api.create_repo(repository, private=private, exist_ok=True)
        if private and api.model_info(repository).private is False:
            raise HubError(f"{repository} is there already and is public: `private` is for new repositories")
        if branch:
            api.create_branch(repository, branch=branch, exist_ok=True)
        operations = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
        made = api.create_commit(
            repository, operations, commit_message=message, revision=branch, create_pr=create_pr or None
        )
    return Pushed(str(made.pr_url or made.commit_url), str(made.oid))
