/**
 * A source file as the tidy rules see it: path from the root, text, and what the TypeScript parser says about its imports and its use
 * of globals. Comments and strings are therefore never taken for code.
 */
import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

export interface Import {
  readonly specifier: string;
  /** Vanishes when compiled. */
  readonly typeOnly: boolean;
}

export interface SourceFile {
  /** From the root, with forward slashes: `packages/core/src/mm/arena.ts`. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
  /** Names that are read and not declared in the file, with one property if one follows: `Date.now`, `Math.random`, `Buffer.from`. */
  readonly names: ReadonlySet<string>;
}

/** Parses one file. */
export function sourceFile(at: string, text: string): SourceFile {
  const imports: Import[] = [];
  const names = new Set<string>();
  const declared = new Set<string>();
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined) {
      const typeOnly = ts.isImportDeclaration(node) ? (node.importClause?.isTypeOnly ?? false) : node.isTypeOnly;
      imports.push({ specifier: (node.moduleSpecifier as ts.StringLiteral).text, typeOnly });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword && ts.isStringLiteral(node.arguments[0])) {
      imports.push({ specifier: node.arguments[0].text, typeOnly: false });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
      imports.push({ specifier: node.argument.literal.text, typeOnly: true });
    }
    if (isDeclaration(node) && node.name !== undefined && ts.isIdentifier(node.name)) declared.add(node.name.text);
    if (ts.isIdentifier(node) && !isLabel(node)) {
      names.add(node.text);
      const { parent } = node;
      if (ts.isPropertyAccessExpression(parent) && parent.expression === node) names.add(`${node.text}.${parent.name.text}`);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(at, text, ts.ScriptTarget.ES2023, true));
  for (const name of names) if (declared.has(name.split('.')[0])) names.delete(name);
  return { path: at, text, imports, names };
}

function isDeclaration(node: ts.Node): node is ts.Node & { name?: ts.Node } {
  return (
    ts.isVariableDeclaration(node) ||
    ts.isParameter(node) ||
    ts.isFunctionDeclaration(node) ||
    ts.isClassDeclaration(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) ||
    ts.isImportSpecifier(node) ||
    ts.isImportClause(node) ||
    ts.isNamespaceImport(node)
  );
}

/** True for an identifier that is only a name of something: a property, a method, a key. */
function isLabel(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node;
  if (ts.isQualifiedName(parent)) return parent.right === node;
  if (ts.isPropertyAssignment(parent) || ts.isEnumMember(parent)) return parent.name === node;
  return (
    ts.isMethodDeclaration(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isPropertySignature(parent) ||
    ts.isPropertyDeclaration(parent) ||
    ts.isGetAccessor(parent) ||
    ts.isSetAccessor(parent)
  );
}

/** Every file below `folder` (from the root) whose name ends in one of `endings`, built and installed things aside. */
export function filesBelow(root: string, folder: string, endings: readonly string[]): string[] {
  const found: string[] = [];
  const walk = (at: string): void => {
    for (const entry of fs.readdirSync(path.join(root, at), { withFileTypes: true })) {
      const child = path.posix.join(at, entry.name);
      if (entry.isDirectory()) {
        if (!['node_modules', 'dist', '.git', 'coverage', '.tidemark-tmp'].includes(entry.name) && child !== 'docs/api') walk(child);
      } else if (endings.some((ending) => entry.name.endsWith(ending))) found.push(child);
    }
  };
  if (fs.existsSync(path.join(root, folder))) walk(folder);
  return found.sort();
}
