// Package report renders what was found out about the maps of a target: as a
// table, as the picture of one map, as JSON.
//
// A [Document] is the one description that all renderings share, and its JSON
// form is a contract with other people's scripts: fields may be added, none
// renamed ("schema" 1). The package does no inspection of its own: it is given a
// census and says it in words. Above it is only the command.
package report
