//go:build tools

// Package tools pins what is built here; it is never compiled.
package tools

import _ "k8s.io/kubernetes/cmd/kubectl"
