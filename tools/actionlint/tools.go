//go:build tools

// Package tools pins what is built here; it is never compiled.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
