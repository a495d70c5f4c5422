"""Kafka's jars: the pinned list, fetched once into the user's cache.

`kafka_jars.lock` names every jar with its SHA-256, so that a start resolves nothing and trusts nothing but those
hashes. jgo fetches each into a folder of its own, and only a jar whose hash is right is moved to its place: what is
there is whole, however a former download ended, and whoever else downloads at the same time.

`python -m adamas.embedded.kafka_jars` fetches; with `--lock` it resolves Kafka anew and writes the list.
"""

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import platformdirs

from schemas.errors import Retriable

KAFKA_VERSION: Final = "4.3.0"
ENDPOINTS: Final = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
ALONE: Final = (f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",)
"""Taken without what they need: of the tools only those that stand on Kafka itself are used (ConsumerGroupCommand),
and the others bring Kafka Connect and a web server along."""
MAVEN_CENTRAL: Final = "https://repo.maven.apache.org/maven2"
LOCK_FILE: Final = Path(__file__).with_name("kafka_jars.lock")

CONNECTIONS: Final = 8
SILENCE_TIMEOUT_S: Final = 15
ATTEMPTS: Final = 2


class DownloadFailed(Retriable):
    """A jar could not be fetched; the message says which, and what to do."""


@dataclass(frozen=True)
class Jar:
    """One jar of the list."""

    coordinate: str
    sha256: str

    @property
    def file_name(self) -> str:
        """`artifact-version.jar`, unique in the list."""
        _group, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def pinned() -> list[Jar]:
    """The jars of the lock file."""
    lines = [line for line in LOCK_FILE.read_text().splitlines() if line and not line.startswith("#")]
    return [Jar(*line.split()) for line in lines]


def default_folder() -> Path:
    """Where the jars live: the user's cache, shared by all checkouts."""
    return Path(platformdirs.user_cache_dir("adamas")) / f"kafka-{KAFKA_VERSION}"


def missing(folder: Path, jars: Iterable[Jar]) -> list[Jar]:
    """The jars that are not in the folder yet."""
    return [jar for jar in jars if not (folder / jar.file_name).exists()]


def fetch(folder: Path | None = None, progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Make sure every pinned jar is in the folder, and return their paths in class path order.

    Args:
        folder: the user's cache when not given.
        progress: called with (jars there, jars in all) after each.

    Raises:
        DownloadFailed: after two attempts at one jar, or when its content is not what is pinned.
    """
    target, jars = folder or default_folder(), pinned()
    wanted = missing(target, jars)
    if wanted:
        target.mkdir(parents=True, exist_ok=True)
        _fetch_all(
            wanted, target, lambda done: progress and progress(len(jars) - len(wanted) + done, len(jars))
        )
    return [target / jar.file_name for jar in jars]


def _fetch_all(jars: list[Jar], target: Path, fetched: Callable[[int], object]) -> None:
    # Beside the target, so that a move is a rename.
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target) as staging:
        pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="jars")
        futures = [pool.submit(_fetch_one, jar, Path(staging), target) for jar in jars]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                fetched(done)
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch_one(jar: Jar, staging: Path, target: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            file = _download(jar.coordinate, staging / f"{jar.file_name}-{attempt}")
            break
        except (OSError, RuntimeError) as error:
            # requests' errors are OSErrors; jgo raises RuntimeError for "not found".
            if attempt == ATTEMPTS:
                raise DownloadFailed(
                    f"Cannot download {jar.file_name} from {MAVEN_CENTRAL} ({type(error).__name__}). Check the network"
                    " (a proxy is taken from HTTPS_PROXY) and run the same command again; what is there is kept."
                ) from error
    if (found := _sha256(file)) != jar.sha256:
        raise DownloadFailed(
            f"{jar.file_name} from {MAVEN_CENTRAL} is not the file we know: its SHA-256 is {found}, not {jar.sha256}."
            " Something between here and there changes downloads; nothing was kept of it."
        )
    file.replace(target / jar.file_name)


def _download(coordinate: str, repo: Path) -> Path:
    # jgo brings an HTTP client with it, which a start that has its jars need not load.
    from jgo.maven import MavenContext

    group, artifact, version = coordinate.split(":")
    context = MavenContext(
        repo_cache=repo, local_repos=[], remote_repos={"central": MAVEN_CENTRAL}, timeout=SILENCE_TIMEOUT_S
    )
    file: Path = context.project(group, artifact).at_version(version).artifact().resolve()
    return file


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def resolve() -> list[Jar]:
    """Kafka and everything it needs at run time, as Maven Central has it now."""
    from jgo.maven import MavenContext
    from jgo.parse import Coordinate

    with tempfile.TemporaryDirectory() as repo:
        context = MavenContext(
            repo_cache=Path(repo),
            local_repos=[],
            remote_repos={"central": MAVEN_CENTRAL},
            timeout=SILENCE_TIMEOUT_S,
        )
        coordinates = [Coordinate.parse(endpoint) for endpoint in ENDPOINTS]
        roots = [context.create_dependency(replace(c, scope="compile")) for c in coordinates]
        inputs, transitive = context.resolver.resolve(roots)
        needed = [*inputs, *(d for d in transitive if d.scope in ("compile", "runtime"))]
        jars = [Jar(f"{d.groupId}:{d.artifactId}:{d.version}", _sha256(d.artifact.resolve())) for d in needed]
    with tempfile.TemporaryDirectory() as repo:
        return jars + [Jar(alone, _sha256(_download(alone, Path(repo)))) for alone in ALONE]


def write_lock() -> None:
    """Resolve anew and write `kafka_jars.lock`."""
    head = "# Written by `make lock`: Kafka's class path, a jar a line, with its SHA-256.\n"
    LOCK_FILE.write_text(head + "".join(f"{jar.coordinate} {jar.sha256}\n" for jar in resolve()))


def main() -> None:
    """Fetch the jars, or with `--lock` pin them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lock", action="store_true", help="resolve Kafka anew and write the list")
    if parser.parse_args().lock:
        write_lock()
        return
    try:
        fetch()
    except DownloadFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
