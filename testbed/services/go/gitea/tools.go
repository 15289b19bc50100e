//go:build tools

// Package gitea names the forge, so that go.mod keeps what it needs.
package gitea

import _ "code.gitea.io/gitea"
