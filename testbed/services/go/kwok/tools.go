//go:build tools

// Package kwok names the program that stands in for every kubelet, so that go.mod keeps what it needs.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
