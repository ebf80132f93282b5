package main

import "errors"

func (c *config) page(views []*view, prof *samples) error { return errors.New("not yet") }
