#!/usr/bin/env node
import os from 'node:os';
import { main } from '../dist/main.js';

process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(128 + os.constants.signals.SIGPIPE); // whoever read has gone
});
process.exitCode = await main(process.argv.slice(2));
