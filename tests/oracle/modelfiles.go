// SPDX-License-Identifier: GPL-3.0-or-later
// SPDX-FileCopyrightText: The gpufleet.ollama contributors

// What Ollama's own parser makes of Modelfiles: one base64 text per line in, one JSON object per line out.
// tests/oracle/modelfiles.py builds it inside a checkout of Ollama.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"github.com/ollama/ollama/parser"
)

type answer struct {
	Commands      [][2]string     `json:"commands,omitempty"`
	Refused       string          `json:"refused,omitempty"`
	Create        json.RawMessage `json:"create,omitempty"`
	CreateRefused string          `json:"create_refused,omitempty"`
}

func ask(raw []byte) (found answer) {
	file, err := parser.ParseFile(bytes.NewReader(raw))
	if err != nil {
		found.Refused = err.Error()
		return found
	}
	for _, command := range file.Commands {
		found.Commands = append(found.Commands, [2]string{command.Name, command.Args})
	}
	// A directory that is not there: each FROM is the name of a model.
	request, err := file.CreateRequest("/nonexistent")
	if err == nil {
		found.Create, err = json.Marshal(request)
	}
	if err != nil {
		found.CreateRefused = err.Error()
	}
	return found
}

func main() {
	// What the parser prints (deprecated parameters) must not come between the answers.
	out := os.Stdout
	os.Stdout, _ = os.Open(os.DevNull)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		raw, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			panic(err)
		}
		text, err := json.Marshal(ask(raw))
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(out, string(text))
	}
}
