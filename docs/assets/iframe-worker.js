// Browsers start no worker from a page that was opened from disk, and search needs one: there it runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      const load = (address) =>
        new Promise((done, fail) => {
          const script = inside.document.createElement("script")
          Object.assign(script, { src: new URL(address, document.baseURI), onload: done, onerror: fail })
          inside.document.body.append(script)
        })
      inside.importScripts = (...addresses) =>
        addresses.reduce((before, each) => before.then(() => load(each)), Promise.resolve())
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      this.loaded = load(address)
      this.postMessage = (data) =>
        this.loaded.then(() => inside.dispatchEvent(new inside.MessageEvent("message", { data })))
      this.terminate = () => frame.remove()
    }
  }
}
