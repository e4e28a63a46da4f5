# custody: build, run, test. Go is all that is needed; the tools below are
# fetched, pinned, by the go command itself.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFUMPT = mvdan.cc/gofumpt@v0.12.0
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

export CGO_ENABLED = 0
SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.go')

.PHONY: build run demo test check lint bench clean

build:
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o custody .

run: build
	./custody serve

demo: build
	./custody demo

test:
	go test -shuffle=on ./...

# The race detector needs cgo; the product does not.
check: lint
	CGO_ENABLED=1 go test -race -shuffle=on ./...

lint:
	@unformatted=$$(go run $(GOFUMPT) -l $(SOURCES)); \
	if [ -n "$$unformatted" ]; then echo "not gofumpt'ed:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	go run $(GOLANGCI) run ./...

# Prints a table and writes it to docs/; minutes of work, no other load on the machine.
bench: build
	go run ./appliance/bench

clean:
	rm -rf custody bin
