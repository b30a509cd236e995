// The page, put together. Draws once a frame what the state says; what arrives in between only
// changes the state.

import { models } from "./api.js";
import { Ask } from "./ask.js";
import { Cards } from "./cards.js";
import { presets, WITHOUT_LIST } from "./catalogue.js";
import { Choice } from "./choice.js";
import { Conversation } from "./conversation.js";
import { Differences } from "./differences.js";
import { $, copyText, download, openDialog, put, show, wireDialogs } from "./dom.js";
import { asCsv, asJson, asMarkdown, fileName } from "./export.js";
import { History } from "./history.js";
import { recordingOf } from "./keep.js";
import { wireKeyDialog } from "./keydialog.js";
import { wireKeys } from "./keyboard.js";
import { lost, notice } from "./notice.js";
import { Parameters } from "./parameters.js";
import { Picker } from "./picker.js";
import { Player } from "./player.js";
import { Reporter, say } from "./say.js";
import { isOpen, isOver, replayed, tell } from "./state.js";
import { themeWords, turn } from "./theme.js";
import { Timeline } from "./timeline.js";
import { cutWords } from "./words.js";

/** Milliseconds between two savings of a conversation that is under way. */
const KEEP_EVERY = 3000;

const STILL_RUNNING = "Wait until the answers are whole, or stop them.";

const choice = new Choice();
const picker = new Picker(choice);
const parameters = new Parameters(choice);
const differences = new Differences();
const reporter = new Reporter();
const cards = new Cards($("cards"), onCard);
const timeline = new Timeline(draw, (index) => cards.goTo(index));
const history = new History({ open: openKept, play });
const ask = new Ask(choice, { asked, openPicker: () => picker.open() });

let conversation = makeConversation();
let player = null; // a recording is shown instead of the conversation
let drawing = false;

const shown = () => player?.round ?? conversation.round;
const clock = () => player?.clock ?? conversation.clock;

// Drawing.

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(frame);
}

function frame() {
  drawing = false;
  player?.step();
  const round = shown();
  drawAround(round);
  if (!round) return;
  const { now } = clock();
  cards.draw(now);
  timeline.draw(now);
  cards.settle();
  if (!player) reporter.look(round, now);
  const moves = player ? !player.isOver && player.clock.speed > 0 : !isOver(round);
  if (moves) draw();
}

function drawAround(round) {
  ask.draw({ rounds: conversation.rounds.length, running: conversation.isRunning, recording: player !== null });
  show($("round"), round !== null);
  show($("replay"), player !== null);
  if (!round) return;
  const over = isOver(round);
  const unfinished = round.slots.filter(isUnfinished).length;
  put($("asked"), round.question);
  show($("again-open"), over && !player && unfinished > 0);
  put($("again-open"), `Ask the ${unfinished > 1 ? `${unfinished} unfinished ones` : "unfinished one"} again`);
  for (const id of ["open-differences", "open-export", "play"]) show($(id), over && !player);
  put($("replay-pause"), player?.isOver ? "From the start" : player?.clock.speed === 0 ? "Go on" : "Pause");
}

const isUnfinished = (slot) => slot.state === "failed" || slot.state === "lost";

function showRound() {
  const round = shown();
  if (round) {
    cards.show(round, player ? [] : conversation.before(round));
    timeline.show(round);
  }
  document.body.dataset.view = round ? "round" : "welcome";
  draw();
}

// Asking.

function makeConversation() {
  const made = new Conversation({
    changed: draw,
    ended: () => history.keep(made),
    cut: (round, reason) => round === conversation.round && lost(cutWords(reason), [["Ask again for the open ones", askUnfinished]]),
    refused,
  });
  return made;
}

function asked(question) {
  if (conversation.isRunning) return hint("The models are still answering: stop them first, or wait.");
  notice("");
  // Under a recording the conversation can't be seen, so none is continued unseen.
  if (player || !ask.followsUp) conversation = makeConversation();
  player = null;
  const round = conversation.ask({ question, models: choice.models, shared: choice.shared });
  ask.prompt.value = "";
  showRound();
  reporter.follow(round);
}

/** A question that was refused whole is taken back, and stands in its place to be mended. */
function refused(round, error) {
  if (round.slots.some((slot) => slot.state !== "failed" || !slot.trouble)) {
    if (isOver(round)) notice(`Some were not asked: ${error.message}`);
    return;
  }
  if (round.slots.some((slot) => slot.asks > 1)) return notice(error.message);
  conversation.takeBack(round);
  showRound();
  ask.write(round.question);
  ask.refuse(error.message);
  say(error.message);
}

function onCard(name, slot) {
  if (name === "copy") copyText(slot.text).then((copied) => hint(copied ? `The answer of ${slot.name} is copied.` : "This browser does not let the page copy."));
  else if (player) hint("This is a recording: leave it to ask or to stop.");
  else if (name === "stop") conversation.stop(slot);
  else if (name === "again" && !isOpen(slot)) conversation.again([slot]);
}

function askUnfinished() {
  if (player || !conversation.round) return;
  notice("");
  const slots = conversation.round.slots.filter(isUnfinished);
  if (slots.length > 0) conversation.again(slots);
  draw();
}

function stopAll() {
  if (!player) conversation.stop();
}

function startOver() {
  conversation.leave();
  conversation = makeConversation();
  player = null;
  notice("");
  showRound();
  ask.prompt.focus();
}

// What was asked before.

function openKept(kept) {
  const isHere = kept.id === conversation.id && conversation.round !== null;
  if (!isHere && conversation.isRunning) return hint(STILL_RUNNING);
  player = null;
  if (!isHere) { // what is here is newer than what was kept of it
    conversation = makeConversation();
    conversation.id = kept.id;
    conversation.rounds = kept.rounds.map((recording) => ended(replayed(recording)));
    notice("");
  }
  showRound();
  requestAnimationFrame(() => $("asked").focus()); // when the frame has shown it
}

/** What was still open when its page was left does not go on. */
function ended(round) {
  const last = round.log.at(-1)?.[0] ?? 0;
  round.runs.forEach((run, number) => run.open && tell(round, number, { type: "cut", reason: "left" }, last));
  return round;
}

function play(recording) {
  if (conversation.isRunning) return hint(STILL_RUNNING);
  player = new Player(recording, Number($("replay-speed").value));
  notice("");
  showRound();
  say("Playing a recording.");
}

function playOrPause() {
  if (!player) {
    if (conversation.round && !conversation.isRunning) play(recordingOf(conversation.round));
  } else if (player.isOver) play(player.recording);
  else player.clock.speed = player.clock.speed === 0 ? Number($("replay-speed").value) : 0;
  draw();
}

function leaveReplay() {
  player = null;
  showRound();
}

// The rest of the page.

let hiding = 0;

/** A word in passing, seen and heard. */
function hint(words) {
  say(words);
  put($("hint"), words);
  show($("hint"), true);
  clearTimeout(hiding);
  hiding = setTimeout(() => show($("hint"), false), 2500);
}

function turnTheme() {
  const words = turn();
  put($("theme-words"), words);
  hint(`Colours: ${words}.`);
}

function openDifferences() {
  const round = shown();
  const focused = cards.of(document.activeElement)?.slot;
  if (!round || !differences.open(round, focused)) hint("There must be two answers first.");
}

function openExport() {
  if (shown()) openDialog($("export"));
}

function exportAs(kind) {
  const round = shown();
  const rounds = player ? [round] : conversation.rounds;
  if (kind === "md") download(fileName(round, "md"), "text/markdown", asMarkdown(rounds));
  else if (kind === "json") download(fileName(round, "json"), "application/json", asJson(round));
  else if (kind === "csv") download(fileName(round, "csv"), "text/csv", asCsv(rounds));
  else copyText(asMarkdown(rounds)).then((copied) => hint(copied ? "Copied as Markdown." : "This browser does not let the page copy."));
  $("export").close();
}

let listFailed = false;

async function fetchModels() {
  listFailed = false;
  try {
    const list = await models();
    picker.offer(list.models, list.sources ?? []);
    if (choice.isUntouched || suggested) choice.suggest(presets(list.models, {})[0]?.ids ?? WITHOUT_LIST);
  } catch (error) {
    listFailed = true;
    notice(`The list of models could not be fetched: ${error.message}`, [["Try again", () => { notice(""); fetchModels(); }]]);
  }
}

const page = {
  cards, hint, stopAll, askUnfinished, startOver, turnTheme, openDifferences, openExport, playOrPause,
  openModels: () => picker.open(),
  openParameters: () => parameters.open(),
  openHistory: () => history.open(),
  openKeys: () => openDialog($("keys")),
};

const buttons = {
  "open-models": page.openModels, "open-parameters": page.openParameters, "open-history": page.openHistory,
  "open-keys": page.openKeys, "theme": turnTheme, "stop-all": stopAll, "again-open": askUnfinished,
  "open-differences": openDifferences, "open-export": openExport, "play": playOrPause, "start-over": startOver,
  "replay-pause": playOrPause, "replay-leave": leaveReplay,
  "replay-end": () => { player?.finish(); draw(); },
};
for (const [id, act] of Object.entries(buttons)) $(id).addEventListener("click", act);
for (const button of document.querySelectorAll("[data-export]")) button.addEventListener("click", () => exportAs(button.dataset.export));
$("replay-speed").addEventListener("change", () => {
  if (player && player.clock.speed > 0) player.clock.speed = Number($("replay-speed").value);
});
$("follow-up").addEventListener("change", draw);

// A page that is closed has no time to write, so it is done on the way.
setInterval(() => conversation.isRunning && history.keep(conversation), KEEP_EVERY);

wireDialogs();
wireKeyDialog(() => listFailed && fetchModels());
wireKeys(page);
put($("theme-words"), themeWords());
const suggested = choice.isUntouched;
if (suggested) choice.suggest(WITHOUT_LIST);
else choice.suggest(choice.ids);
document.body.dataset.view = "welcome";
draw();
fetchModels();
