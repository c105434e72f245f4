//go:build tools

// Package tools pins what is built here; it is never compiled.
package tools

import (
	_ "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
)
