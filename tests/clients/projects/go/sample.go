// Package sample needs each of its dependencies.
package sample

import (
	_ "github.com/BurntSushi/toml"
	_ "github.com/Masterminds/semver/v3"
	_ "github.com/armon/go-radix"
	_ "github.com/dustin/go-humanize"
	_ "github.com/google/shlex"
	_ "github.com/mattn/go-isatty"
	_ "github.com/mattn/go-runewidth"
	_ "github.com/mitchellh/go-wordwrap"
	_ "github.com/pkg/errors"
	_ "gopkg.in/yaml.v3"
)
