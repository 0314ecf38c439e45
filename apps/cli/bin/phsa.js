#!/usr/bin/env node
// Apart from dist so that npm can link the command before the first build.
import '../dist/main.js'
