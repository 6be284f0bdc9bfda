// Gives orders without leaving the page; without this, the form and a redirect do the same.

const form = document.getElementById("orders");
const outcome = document.getElementById("outcome");

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = new URLSearchParams(new FormData(form));
  const button = event.submitter;
  if (button) fields.set(button.name, button.value);
  tell("warn", `${button?.ariaLabel ?? "Order"}…`);
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { accept: "application/json" },
      body: fields,
    });
    if (!answer.ok) throw new Error(`The console answered ${answer.status}.`);
    const { ok, text } = await answer.json();
    tell(ok ? "ok" : "bad", text);
  } catch (error) {
    tell("bad", error.message);
  }
});

function tell(state, text) {
  outcome.dataset.state = state;
  outcome.textContent = text;
  outcome.hidden = false;
}
