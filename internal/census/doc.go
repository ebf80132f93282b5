// Package census finds the maps of a stopped target and the holders of their
// headers.
//
// A map variable is one machine word, the header's address; every word that
// holds it is a holder. The census starts from the variables that
// internal/target lists and follows their types: through structs and arrays at
// no cost, through pointers, slices, interfaces and maps as deep as Options say.
// Objects are met breadth first, so that a holder has the shortest path that
// leads to it, and each object is looked at once for each type.
//
// The package imports internal/target for the variables and internal/hmap for
// everything else; it knows nothing of how results are shown. It never stops or
// resumes the target. What cannot be read is kept as an error of the map or of
// the whole census, beside what could.
package census
