// go run client.go MODE URL PICTURE: sends the picture as a Go program would and prints the status.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net/http"
	"os"
)

func main() {
	mode, url := os.Args[1], os.Args[2]
	file, err := os.Open(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	body, contentType := &bytes.Buffer{}, ""
	switch mode {
	case "form", "field":
		form := multipart.NewWriter(body)
		var part io.Writer
		if mode == "form" {
			part, err = form.CreateFormFile("file", file.Name()) // the whole path
		} else {
			part, err = form.CreateFormField("picture")
		}
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(part, file)
		form.Close()
		contentType = form.FormDataContentType()
	case "json":
		data, _ := io.ReadAll(file)
		json.NewEncoder(body).Encode(map[string][]byte{"image": data})
		contentType = "application/json"
	default:
		io.Copy(body, file)
		contentType = "image/png"
	}
	answer, err := http.Post(url, contentType, body)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	fmt.Println(answer.StatusCode)
}
