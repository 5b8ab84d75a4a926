module sample.example/sample

go 1.18

require (
	github.com/BurntSushi/toml v1.4.0
	github.com/Masterminds/semver/v3 v3.2.1
	github.com/armon/go-radix v1.0.0
	github.com/dustin/go-humanize v1.0.1
	github.com/google/shlex v0.0.0-20191202100458-e7afc7fbc510
	github.com/mattn/go-isatty v0.0.20
	github.com/mattn/go-runewidth v0.0.15
	github.com/mitchellh/go-wordwrap v1.0.1
	gopkg.in/yaml.v3 v3.0.1
)
