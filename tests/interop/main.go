// Command interop checks a Situs audit log with nothing of Situs: the Go team's own
// implementation of signed notes and Merkle trees, golang.org/x/mod/sumdb, as Debian ships it.
//
//	interop DIRECTORY VERIFIER_KEY PROOFS
//
// DIRECTORY holds a log as it is served (checkpoint, tile/...). The tree is rebuilt from the
// entry bundles, never from the hash tiles: tlog.TileHashReader before x/mod 0.40 accepts a
// tampered level-0 tile. Then every hash tile is compared with the rebuilt tree, and each line
// of PROOFS, which Situs wrote, is checked, and compared with the proof that Go makes:
//
//	record INDEX SIZE HASH...
//	tree OLD SIZE HASH...
//
// It prints what it did and exits 0, or prints the first thing that is wrong and exits 1.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const width = 256

// hashes is a tlog.HashReader over hashes kept in memory.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(h)) {
			return nil, fmt.Errorf("hash %d is not stored", index)
		}
		out[i] = h[index]
	}
	return out, nil
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: interop DIRECTORY VERIFIER_KEY PROOFS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println("FAIL:", err)
		os.Exit(1)
	}
}

func run(dir, key, proofs string) error {
	tree, err := readCheckpoint(dir, key)
	if err != nil {
		return err
	}
	records, stored, err := rebuild(dir, tree.N)
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(tree.N, stored)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the bundles make root %v, the checkpoint signs %v", root, tree.Hash)
	}
	tiles, err := compareTiles(dir, tree.N, stored)
	if err != nil {
		return err
	}
	checked, err := checkProofs(proofs, tree, records, stored)
	if err != nil {
		return err
	}
	fmt.Printf("%d entries, %d tiles, %d proofs: verified\n", tree.N, tiles, checked)
	return nil
}

func readCheckpoint(dir, key string) (tlog.Tree, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is not of %q", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := parseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

// rebuild reads every entry bundle and stores the hashes of the whole tree.
func rebuild(dir string, size int64) (records []tlog.Hash, stored hashes, err error) {
	for n := int64(0); n*width < size; n++ {
		count := size - n*width
		if count > width {
			count = width
		}
		body, err := os.ReadFile(filepath.Join(dir, "tile", "entries", tilePath(n, count)))
		if err != nil {
			return nil, nil, err
		}
		for i := int64(0); i < count; i++ {
			if len(body) < 2 || len(body) < 2+int(binary.BigEndian.Uint16(body)) {
				return nil, nil, fmt.Errorf("bundle %d ends inside entry %d", n, i)
			}
			length := int(binary.BigEndian.Uint16(body))
			data := body[2 : 2+length]
			body = body[2+length:]
			more, err := tlog.StoredHashes(n*width+i, data, stored)
			if err != nil {
				return nil, nil, err
			}
			stored = append(stored, more...)
			records = append(records, tlog.RecordHash(data))
		}
		if len(body) != 0 {
			return nil, nil, fmt.Errorf("bundle %d has %d bytes too many", n, len(body))
		}
	}
	return records, stored, nil
}

// compareTiles reads every hash tile of the tree and compares it with the rebuilt one.
func compareTiles(dir string, size int64, stored hashes) (count int, err error) {
	for level := 0; size>>(8*level) > 0; level++ {
		total := size >> (8 * level)
		for n := int64(0); n*width < total; n++ {
			w := total - n*width
			if w > width {
				w = width
			}
			tile := tlog.Tile{H: 8, L: level, N: n, W: int(w)}
			want, err := tlog.ReadTileData(tile, stored)
			if err != nil {
				return 0, err
			}
			path := filepath.Join("tile", strconv.Itoa(level), tilePath(n, w))
			// The same names as Go's, but for the tile height that they begin with.
			if "tile/8/"+strings.TrimPrefix(filepath.ToSlash(path), "tile/") != tile.Path() {
				return 0, fmt.Errorf("%s: Go calls it %s", path, tile.Path())
			}
			have, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				return 0, err
			}
			if !bytes.Equal(have, want) {
				return 0, fmt.Errorf("%s is not the tile that the entries make", path)
			}
			count++
		}
	}
	return count, nil
}

func checkProofs(path string, tree tlog.Tree, records []tlog.Hash, stored hashes) (count int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		first, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return count, err
		}
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return count, err
		}
		var proof []tlog.Hash
		for _, field := range fields[3:] {
			hash, err := parseHash(field)
			if err != nil {
				return count, err
			}
			proof = append(proof, hash)
		}
		root, err := tlog.TreeHash(size, stored)
		if err != nil {
			return count, err
		}
		switch fields[0] {
		case "record":
			err = checkRecord(proof, size, root, first, records[first], stored)
		case "tree":
			err = checkTree(proof, size, root, first, stored)
		default:
			err = fmt.Errorf("unknown kind")
		}
		if err != nil {
			return count, fmt.Errorf("%s %d in %d: %v", fields[0], first, size, err)
		}
		count++
	}
	return count, scanner.Err()
}

func checkRecord(proof tlog.RecordProof, size int64, root tlog.Hash, n int64, record tlog.Hash, stored hashes) error {
	if err := tlog.CheckRecord(proof, size, root, n, record); err != nil {
		return err
	}
	own, err := tlog.ProveRecord(size, n, stored)
	if err != nil {
		return err
	}
	return same(own, proof)
}

func checkTree(proof tlog.TreeProof, size int64, root tlog.Hash, old int64, stored hashes) error {
	oldRoot, err := tlog.TreeHash(old, stored)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, size, root, old, oldRoot); err != nil {
		return err
	}
	own, err := tlog.ProveTree(size, old, stored)
	if err != nil {
		return err
	}
	return same(own, proof)
}

func same(own, ours []tlog.Hash) error {
	if len(own) != len(ours) {
		return fmt.Errorf("Go proves it in %d hashes, Situs in %d", len(own), len(ours))
	}
	for i := range own {
		if own[i] != ours[i] {
			return fmt.Errorf("hash %d of the proof differs from Go's", i)
		}
	}
	return nil
}

func parseHash(text string) (hash tlog.Hash, err error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return hash, err
	}
	if len(data) != len(hash) {
		return hash, fmt.Errorf("a hash of %d bytes", len(data))
	}
	copy(hash[:], data)
	return hash, nil
}

// tilePath is the <N>[.p/<W>] of C2SP tlog-tiles.
func tilePath(n, w int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if w < width {
		path += fmt.Sprintf(".p/%d", w)
	}
	return path
}
