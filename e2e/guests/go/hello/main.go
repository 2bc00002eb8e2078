//go:build wasip1

// Command hello shows what a guest was given: it prints a greeting, its
// arguments and its environment, and exits with the code that the environment
// variable EXIT_CODE asks for. The C and Rust guests of the same name print the
// same lines, so that one test judges all three languages.
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	fmt.Println("hello from go")
	for i, arg := range os.Args {
		fmt.Printf("arg %d %s\n", i, arg)
	}
	for _, kv := range os.Environ() {
		fmt.Printf("env %s\n", kv)
	}
	fmt.Fprintln(os.Stderr, "bye from go")
	os.Exit(exitCode())
}

func exitCode() int {
	v, ok := os.LookupEnv("EXIT_CODE")
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		fmt.Fprintf(os.Stderr, "EXIT_CODE=%q is not a number\n", v)
		return 2
	}
	return n
}
