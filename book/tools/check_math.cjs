// node check_math.cjs HTML_FOLDER: typeset every formula of the built book with the MathJax that it ships.
// Sphinx does not see an undefined macro (it shows red in the browser); here it is an error.
const fs = require("fs");
const path = require("path");

function pages(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) return entry.name.startsWith("_") ? [] : pages(file);
    return file.endsWith(".html") ? [file] : [];
  });
}

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&#x27;": "'", "&amp;": "&" };
const plain = (html) => html.replace(/<[^>]+>/g, "").replace(/&(lt|gt|quot|#39|#x27|amp);/g, (e) => ENTITIES[e]);

const root = process.argv[2];
const files = pages(root);
const texts = new Map(files.map((file) => [file, fs.readFileSync(file, "utf8")]));
const configured = [...texts.values()].map((text) => /window\.MathJax = (\{.*?\})<\/script>/s.exec(text)).find(Boolean);
if (!configured) throw new Error(`no page under ${root} configures MathJax`);
const { macros } = JSON.parse(configured[1]).tex;

const mathjax = require(require.resolve("mathjax/es5/node-main.js", { paths: [path.join(__dirname, "..")] }));
mathjax
  .init({
    loader: { load: ["input/tex-full", "adaptors/liteDOM"] },
    startup: { typeset: false },
    tex: {
      packages: { "[-]": ["noundefined", "noerrors", "bussproofs"] },
      macros,
      formatError: (_, error) => { throw error; },
    },
  })
  .then((MathJax) => {
    let count = 0;
    let bad = 0;
    for (const [file, text] of texts) {
      for (const element of text.matchAll(/<(span|div) class="[^"]*\bmath\b[^"]*"[^>]*>(.*?)<\/\1>/gs)) {
        for (const formula of plain(element[2]).matchAll(/\\\((.*?)\\\)|\\\[(.*?)\\\]/gs)) {
          count += 1;
          try {
            MathJax.tex2mml(formula[1] ?? formula[2], { display: formula[1] === undefined });
          } catch (error) {
            bad += 1;
            console.log(`${path.relative(root, file)}: ${error.message}: ${(formula[1] ?? formula[2]).trim().slice(0, 100)}`);
          }
          MathJax.texReset();
        }
      }
    }
    console.log(`${count} formulas, ${bad} bad`);
    process.exit(bad || !count ? 1 : 0);
  });
