//go:build !go1.21

package main

var newer121 []any
