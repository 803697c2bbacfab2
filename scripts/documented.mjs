/**
 * Every exported name has a comment of its own: of the packages that hold to it, checked on what is built. Prints what has none; exit code 1 if
 * anything has.
 *
 *     node scripts/documented.mjs            a part of `npm run docs`
 *
 * Not there yet: core, net, fs-nfs, fuse and lab, whose modules are explained at their heads and not at each name.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const PACKAGES = ['swap', 'nbd', 'md', 'fs-ext3', 'testkit'];

const entries = PACKAGES.flatMap((name) => {
  const { exports } = JSON.parse(fs.readFileSync(path.join(root, 'packages', name, 'package.json'), 'utf8'));
  return Object.values(exports).map(({ types }) => path.join(root, 'packages', name, types));
});
const program = ts.createProgram(entries, {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2023,
  skipLibCheck: true,
  types: [],
});
const checker = program.getTypeChecker();
let nrNames = 0;
const bare = [];
for (const entry of entries) {
  const module = checker.getSymbolAtLocation(program.getSourceFile(entry));
  for (const exported of checker.getExportsOfModule(module)) {
    const symbol = (exported.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(exported) : exported;
    nrNames++;
    if (symbol.getDocumentationComment(checker).length === 0) bare.push(`${path.relative(root, entry)}: ${exported.name} has no comment`);
  }
}
for (const line of bare) console.error(line);
console.log(`${nrNames} exported names of ${PACKAGES.join(', ')}: ${bare.length} without a comment`);
process.exitCode = bare.length === 0 ? 0 : 1;
