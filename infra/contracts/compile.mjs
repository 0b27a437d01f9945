// Compiles src/*.sol to artifacts/*.json. `--check` writes nothing and fails if an artifact differs.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const sourceFolder = join(here, "src");
const artifactFolder = join(here, "artifacts");
const checkOnly = process.argv.includes("--check");

const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "paris",
  // Without the metadata's hash the code depends on nothing but the code.
  metadata: { bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

const names = readdirSync(sourceFolder).filter((name) => name.endsWith(".sol")).sort();
const sources = Object.fromEntries(
  names.map((name) => [name, { content: readFileSync(join(sourceFolder, name), "utf8") }]),
);

function openImport(path) {
  try {
    return { contents: readFileSync(join(here, "node_modules", path), "utf8") };
  } catch (error) {
    return { error: `${path}: ${error.code ?? error}; run npm ci in infra/contracts` };
  }
}

const output = JSON.parse(
  solc.compile(JSON.stringify({ language: "Solidity", sources, settings }), { import: openImport }),
);
if (output.errors?.length) {
  console.error(output.errors.map((error) => error.formattedMessage).join("\n"));
  process.exit(1); // warnings too
}

const openZeppelin = JSON.parse(
  readFileSync(join(here, "node_modules/@openzeppelin/contracts/package.json"), "utf8"),
).version;

let different = 0;
mkdirSync(artifactFolder, { recursive: true });
for (const name of names) {
  const contractName = name.replace(/\.sol$/, "");
  const { abi, evm } = output.contracts[name][contractName];
  const artifact = {
    contractName,
    source: `src/${name}`,
    sourceSha256: createHash("sha256").update(sources[name].content).digest("hex"),
    compiler: { solc: solc.version(), openZeppelin, optimizerRuns: settings.optimizer.runs, evmVersion: settings.evmVersion },
    abi,
    bytecode: `0x${evm.bytecode.object}`,
    deployedBytecode: `0x${evm.deployedBytecode.object}`,
  };
  const text = `${JSON.stringify(artifact, null, 1)}\n`;
  const file = join(artifactFolder, `${contractName}.json`);
  if (!checkOnly) {
    writeFileSync(file, text);
    console.log(`${contractName}: ${evm.deployedBytecode.object.length / 2} bytes`);
    continue;
  }
  let committed = "";
  try {
    committed = readFileSync(file, "utf8");
  } catch {
    // missing is different
  }
  if (committed !== text) {
    console.error(`artifacts/${contractName}.json differs from its source: run npm run compile in infra/contracts`);
    different += 1;
  }
}
process.exit(different ? 1 : 0);
