#!/usr/bin/env node
import { endOnStreamFailure, main } from '../dist/main.js';

endOnStreamFailure();
const code = await main(process.argv.slice(2));
process.exitCode ??= code; // a stream that failed has set its own
