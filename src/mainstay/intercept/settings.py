"""What the package managers on this machine were told: certificate files, local folders."""

from __future__ import annotations

import configparser
import re
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

_GIT_TIMEOUT_S = 5
_REFERENCE = re.compile(r"\$\{([^}]+)\}")
_GRADLE_STORE = re.compile(r"^[ \t]*systemProp\.(javax\.net\.ssl\.trustStore\w*)[ \t]*[=:][ \t]*(\S+)", re.MULTILINE)
_GRADLE_OPTIONS = re.compile(r"^[ \t]*org\.gradle\.jvmargs[ \t]*[=:](.+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Certificate files named in clients' own configuration, and pip's local folders. Environment variables win."""

    pip_cert: str = ""
    npm_cafile: str = ""
    yarn_cafile: str = ""
    cargo_cainfo: str = ""
    git_cainfo: str = ""
    jvm_options: tuple[str, ...] = ()
    """What Maven and Gradle give their JVM by a file: in texts, as in MAVEN_OPTS."""
    find_links: tuple[str, ...] = ()
    """The local ones: what comes over the network is seen."""


def load_client_settings(environ: Mapping[str, str], home: Path, cwd: Path) -> ClientSettings:
    """Read the configuration files that each client would read in `cwd`.

    What cannot be read is left to the client, which will complain of it in its own words.
    """
    pip = _pip(environ, home)
    return ClientSettings(
        pip_cert=environ.get("PIP_CERT") or pip.get("cert", ""),
        npm_cafile=_variable(environ, "npm_config_cafile") or _npm_cafile(environ, home, cwd),
        yarn_cafile=environ.get("YARN_HTTPS_CA_FILE_PATH") or _yarn_cafile(home, cwd),
        cargo_cainfo=environ.get("CARGO_HTTP_CAINFO") or _cargo_cainfo(environ, home, cwd),
        git_cainfo=environ.get("GIT_SSL_CAINFO") or _git_cainfo(environ, cwd),
        jvm_options=(*_maven_options(cwd), *_gradle_options(environ, home, cwd)),
        find_links=tuple(
            place
            for place in (environ.get("PIP_FIND_LINKS") or pip.get("find-links", "")).split()
            if not place.startswith(("http://", "https://"))
        ),
    )


def _pip(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """pip's settings over all sections; a later file wins, in the order of pip's configuration page."""
    config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    folders = [Path(folder) / "pip" for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    paths = [folder / "pip.conf" for folder in folders]
    paths += [Path("/etc/pip.conf"), home / ".pip/pip.conf", config_home / "pip/pip.conf"]
    if environ.get("VIRTUAL_ENV"):
        paths.append(Path(environ["VIRTUAL_ENV"]) / "pip.conf")
    if environ.get("PIP_CONFIG_FILE"):
        paths.append(Path(environ["PIP_CONFIG_FILE"]))
    found: dict[str, str] = {}
    for path in paths:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(_text(path))
        except configparser.Error:  # pip itself refuses such a file, with its own words
            continue
        for section in parser.sections():
            found.update(parser.items(section))
    return found


def _npm_cafile(environ: Mapping[str, str], home: Path, cwd: Path) -> str:
    """`cafile` of the nearest .npmrc, the user's, or the global one, which stands beside the Node installation."""
    node = which("node", path=environ.get("PATH"))
    paths = [folder / ".npmrc" for folder in (cwd, *cwd.parents)]
    paths += [home / ".yarnrc", Path(_variable(environ, "npm_config_userconfig") or home / ".npmrc")]
    if _variable(environ, "npm_config_globalconfig"):
        paths.append(Path(_variable(environ, "npm_config_globalconfig")))
    elif node:
        paths.append(Path(node).resolve().parent.parent / "etc/npmrc")
    for path in paths:
        match = re.search(r"^\s*cafile\s*[= ]\s*[\"']?([^\"'\n]+)", _text(path), re.MULTILINE)
        if match:
            text = _REFERENCE.sub(lambda name: environ.get(name[1], ""), match[1].strip())
            return str(home / text[2:]) if text.startswith("~/") else text
    return ""


def _yarn_cafile(home: Path, cwd: Path) -> str:
    """`httpsCaFilePath` at the top level of the nearest .yarnrc.yml, relative to that file."""
    for folder in (cwd, *cwd.parents, home):
        match = re.search(r"^httpsCaFilePath:\s*[\"']?([^\"'\n#]+)", _text(folder / ".yarnrc.yml"), re.MULTILINE)
        if match:
            return str(folder / match[1].strip())
    return ""


def _cargo_cainfo(environ: Mapping[str, str], home: Path, cwd: Path) -> str:
    folders = [folder / ".cargo" for folder in (cwd, *cwd.parents)]
    folders.append(Path(environ.get("CARGO_HOME") or home / ".cargo"))
    for path in (folder / name for folder in folders for name in ("config.toml", "config")):
        try:
            section = tomllib.loads(_text(path)).get("http", {})
        except tomllib.TOMLDecodeError:  # cargo itself refuses such a file, with its own words
            continue
        if isinstance(section, dict) and isinstance(section.get("cainfo"), str):
            return str(path.parent / section["cainfo"])
    return ""


def _git_cainfo(environ: Mapping[str, str], cwd: Path) -> str:
    git = which("git", path=environ.get("PATH"))
    if git is None:
        return ""
    command = [git, "config", "--type=path", "--get", "http.sslCAInfo"]
    try:
        done = subprocess.run(
            command, cwd=cwd, env=dict(environ), capture_output=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:  # a home folder on a dead network drive: git will say so itself
        return ""
    return done.stdout.decode(errors="surrogateescape").strip()


def _maven_options(cwd: Path) -> list[str]:
    """`.mvn/jvm.config` of the project: Maven's start script looks for the nearest folder `.mvn`."""
    found = (folder / ".mvn/jvm.config" for folder in (cwd, *cwd.parents) if (folder / ".mvn").is_dir())
    return [text for path in list(found)[:1] if (text := _text(path))]


def _gradle_options(environ: Mapping[str, str], home: Path, cwd: Path) -> list[str]:
    """The JVM's options and system properties in the `gradle.properties` of the user and of the project."""
    folders = [Path(environ.get("GRADLE_USER_HOME") or home / ".gradle"), cwd, *cwd.parents]
    texts = [_text(folder / "gradle.properties") for folder in folders]
    found = [" ".join(f"-D{name}={value}" for name, value in _GRADLE_STORE.findall(text)) for text in texts]
    found += [options for text in texts for options in _GRADLE_OPTIONS.findall(text)]
    return [text for text in found if text]


def _variable(environ: Mapping[str, str], name: str) -> str:
    """npm reads its variables in any case."""
    return next((value for key, value in environ.items() if key.lower() == name and value), "")


def _text(path: Path) -> str:
    """The file's text, "" where there is none that this user may read."""
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:  # absent, a folder, or not ours to read: the client sees the same
        return ""
