"""Where Maven and Gradle are told of a mirror, for `mainstay setup`.

Sources: Maven's "Using Mirrors for Repositories" and its settings reference; Gradle's pages on init scripts and on
declaring repositories. Maven takes a mirror of just the repository's name before one of `*`, so there are two: no other
mirror that the file has comes before ours, whatever it is of. One that names another single repository stays in force.
"""

from __future__ import annotations

from mainstay.model import ClientFile, ClientSetup

_SETTINGS = ClientFile(
    places=("~/.m2/settings.xml",),
    form="xml",
    under=("settings", "mirrors"),
    text="""
<mirror>
  <id>mainstay-central</id>
  <mirrorOf>central</mirrorOf>
  <url>{url}/</url>
</mirror>
<mirror>
  <id>mainstay</id>
  <mirrorOf>*</mirrorOf>
  <url>{url}/</url>
</mirror>
""",
)
_INIT_SCRIPT = ClientFile(
    places=("${GRADLE_USER_HOME:-~/.gradle}/init.d/mainstay.init.gradle",),
    form="script",
    text="""
def gateway = '{url}/'
def redirect = { repository ->
    if (repository instanceof MavenArtifactRepository
            && repository.url.toString().startsWith(ArtifactRepositoryContainer.MAVEN_CENTRAL_URL)) {
        repository.url = gateway
        if (gateway.startsWith('http:') && repository.hasProperty('allowInsecureProtocol')) {
            repository.allowInsecureProtocol = true
        }
    }
}
if (GradleVersion.current() >= GradleVersion.version('6.8')) {
    beforeSettings { settings ->
        settings.pluginManagement.repositories.all(redirect)
        settings.dependencyResolutionManagement.repositories.all(redirect)
    }
}
allprojects {
    buildscript.repositories.all(redirect)
    repositories.all(redirect)
}
""",
)
CLIENTS = (
    ClientSetup("maven", ("mvn",), (_SETTINGS,)),
    ClientSetup("gradle", ("gradle",), (_INIT_SCRIPT,)),
)
