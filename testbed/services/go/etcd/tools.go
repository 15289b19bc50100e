//go:build tools

// Package etcd names the store of the control plane, so that go.mod keeps what it needs.
package etcd

import _ "go.etcd.io/etcd/server/v3"
